//! Reading requests, in whatever pieces they come.
//!
//! Two paths lead to the same requests. When a whole array request lies in the bytes at hand, as it
//! nearly always does, its parts are found first and then copied once, as one block that all of its
//! arguments share. Otherwise the parser keeps what has come so far and remembers where it stands;
//! its place between two bytes is the state, so it does not matter where the input was cut.
//!
//! Invariants: what is kept never exceeds what came; a request's kept bytes never exceed
//! [`Limits::request_bytes_max`] plus a constant per argument; after [`Step::Broken`] nothing more
//! is read.

use super::integer;
use bytes::{Bytes, BytesMut};

/// How large a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request, its command included.
    pub args_max: usize,
    /// Bytes of one argument. A longer one is read past and refused.
    pub arg_bytes_max: usize,
    /// Bytes of all arguments together. A longer request is read past and refused.
    pub request_bytes_max: usize,
    /// Bytes of one argument that may even be announced: beyond it the input is no RESP.
    pub announced_bytes_max: i64,
    /// Arguments and bytes of one argument from a client that has not said who it is.
    pub stranger: (usize, usize),
}

impl Default for Limits {
    /// What an Underpin node takes with its default settings.
    fn default() -> Limits {
        Limits {
            args_max: 1 << 20,
            arg_bytes_max: base::key::VALUE_BYTES_MAX,
            request_bytes_max: 16 << 20,
            announced_bytes_max: 512 << 20,
            stranger: (10, 16 << 10),
        }
    }
}

/// Longest line: an inline request, or the announcement of a count or a length.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What the parser came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All bytes are taken, and the request is not whole yet.
    More,
    /// A request: [`Parser::args`], never empty. It took so many bytes of input.
    Request(usize),
    /// A request came that is too large. It was read past; what follows is the next request.
    TooLarge {
        /// "value" (one argument) or "request" (all together).
        what: &'static str,
        /// Bytes seen.
        seen: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// A request was read past because [`Parser::give_up`] was called.
    GivenUp,
    /// This is no RESP; the connection is to be closed after the error is told.
    Broken(Broken),
}

/// Why input is no RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An array's count is no number, or too large.
    ArrayLength,
    /// An argument's length is no number, negative, or too large.
    ArgumentLength,
    /// Something else where an argument's length should be.
    Expected(u8),
    /// A line without an end, where an array's count should be.
    ArrayLine,
    /// A line without an end, where an argument's length should be.
    ArgumentLine,
    /// An inline request without an end.
    InlineLine,
    /// An inline request whose quotes don't match.
    Quotes,
    /// More arguments than a stranger may send.
    StrangerArray,
    /// A longer argument than a stranger may send.
    StrangerArgument,
}

impl Broken {
    /// What Redis says to that.
    pub fn text(&self) -> String {
        let text = match self {
            Broken::ArrayLength => "invalid multibulk length",
            Broken::ArgumentLength => "invalid bulk length",
            Broken::Expected(byte) => {
                return format!("ERR Protocol error: expected '$', got '{}'", char::from(*byte));
            }
            Broken::ArrayLine => "too big mbulk count string",
            Broken::ArgumentLine => "too big bulk count string",
            Broken::InlineLine => "too big inline request",
            Broken::Quotes => "unbalanced quotes in request",
            Broken::StrangerArray => "unauthenticated multibulk length",
            Broken::StrangerArgument => "unauthenticated bulk length",
        };
        format!("ERR Protocol error: {text}")
    }
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Before a request.
    #[default]
    Start,
    /// In a line that is a request.
    Inline,
    /// In the line with an array's count.
    Count,
    /// In the line with an argument's length; so many arguments are missing.
    Length { missing: usize },
    /// In an argument, or the two bytes after it.
    Argument { missing: usize, left: usize },
    /// After input that is no RESP.
    Broken(Broken),
}

/// Reads the requests of one connection.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    state: State,
    args: Vec<Bytes>,
    /// The line that has no end yet, without its carriage return.
    line: Vec<u8>,
    /// The line's carriage return was seen.
    ending: bool,
    /// The argument that has no end yet.
    argument: BytesMut,
    /// Bytes of all arguments that were announced so far.
    bytes: usize,
    /// What `args` take.
    kept: usize,
    /// Bytes of input that the request took so far.
    taken: usize,
    /// The request is only read past, and this will be said of it.
    past: Option<Step>,
    /// Where the arguments lie, on the fast path; kept for its memory.
    places: Vec<(usize, usize)>,
}

impl Parser {
    /// Takes bytes from the front of `input` until a request is whole. `trusted`: the client has
    /// said who it is, or need not.
    pub fn next(&mut self, input: &mut &[u8], trusted: bool, limits: &Limits) -> Step {
        if matches!(self.state, State::Start) {
            self.args.clear();
            self.args.shrink_to(1024);
            if let Some(taken) = self.whole(input, trusted, limits) {
                *input = &input[taken..];
                return Step::Request(taken);
            }
        }
        loop {
            let offered = input.len();
            let step = self.advance(input, trusted, limits);
            self.taken += offered - input.len();
            match step {
                Ok(true) => {}
                Ok(false) => return Step::More,
                Err(Step::Broken(broken)) => {
                    *self = Parser { state: State::Broken(broken), ..Parser::default() };
                    return Step::Broken(broken);
                }
                Err(step) => return step,
            }
        }
    }

    /// The request's arguments, after [`Step::Request`] and until the next call.
    pub fn args(&mut self) -> &mut Vec<Bytes> {
        &mut self.args
    }

    /// Bytes that are kept of a request that is not whole yet.
    pub fn held(&self) -> usize {
        match self.state {
            State::Start | State::Broken(_) => 0,
            _ => self.kept + self.argument.capacity() + self.line.capacity(),
        }
    }

    /// Drops what is kept of a request that is not whole yet; the rest of it will be read past.
    pub fn give_up(&mut self) {
        if !matches!(self.state, State::Start | State::Inline | State::Count | State::Broken(_)) {
            self.read_past(Step::GivenUp);
        }
    }

    /// The fast path: a whole, ordinary array request at the front of `input`. Anything else is
    /// left to the other one.
    fn whole(&mut self, input: &[u8], trusted: bool, limits: &Limits) -> Option<usize> {
        let (b'*', mut at) = (*input.first()?, 1) else { return None };
        let count = short_number(input, &mut at)?;
        let allowed = if trusted { limits.args_max } else { limits.stranger.0 };
        if count == 0 || count > allowed {
            return None;
        }
        self.places.clear();
        let mut bytes = 0;
        for _ in 0..count {
            if *input.get(at)? != b'$' {
                return None;
            }
            at += 1;
            let length = short_number(input, &mut at)?;
            let end = at.checked_add(length)?;
            bytes += length;
            let allowed = if trusted { limits.arg_bytes_max } else { limits.stranger.1 };
            if end + 2 > input.len() || length > allowed || bytes > limits.request_bytes_max {
                return None;
            }
            self.places.push((at, end));
            at = end + 2;
        }
        let first = self.places.first()?.0;
        let block = Bytes::copy_from_slice(&input[first..at - 2]);
        let slice = |&(start, end): &(usize, usize)| block.slice(start - first..end - first);
        self.args.extend(self.places.iter().map(slice));
        Some(at)
    }

    /// One step of the slow path: whether there may be another one.
    fn advance(&mut self, input: &mut &[u8], trusted: bool, limits: &Limits) -> Result<bool, Step> {
        match self.state {
            State::Broken(broken) => {
                *input = &[];
                Err(Step::Broken(broken))
            }
            State::Start => {
                let Some(&first) = input.first() else { return Ok(false) };
                (self.bytes, self.kept, self.taken, self.past) = (0, 0, 0, None);
                self.state = if first == b'*' { State::Count } else { State::Inline };
                Ok(true)
            }
            State::Inline => {
                if !self.take_inline(input)? {
                    return Ok(false);
                }
                self.state = State::Start;
                let split = split_words(&self.line, &mut self.args);
                self.clear_line();
                split.map_err(Step::Broken)?;
                self.finish()
            }
            State::Count => {
                if !self.take_line(input, Broken::ArrayLine)? {
                    return Ok(false);
                }
                let count = integer(self.line.get(1..).unwrap_or_default())
                    .filter(|&count| count <= limits.args_max as i64)
                    .ok_or(Step::Broken(Broken::ArrayLength))?;
                if !trusted && count > limits.stranger.0 as i64 {
                    return Err(Step::Broken(Broken::StrangerArray));
                }
                self.clear_line();
                self.after_argument(count.max(0) as usize)
            }
            State::Length { missing } => {
                if !self.take_line(input, Broken::ArgumentLine)? {
                    return Ok(false);
                }
                let length = self.announced(trusted, limits)?;
                self.clear_line();
                self.allow(length, limits);
                self.state = State::Argument { missing, left: length + 2 };
                Ok(true)
            }
            State::Argument { missing, left } => self.take_argument(input, missing, left),
        }
    }

    /// Takes bytes of an argument and of the line end after it, which is not looked at.
    fn take_argument(
        &mut self,
        input: &mut &[u8],
        missing: usize,
        left: usize,
    ) -> Result<bool, Step> {
        let taken = left.min(input.len());
        if self.past.is_none() {
            let wanted = taken.min(left.saturating_sub(2));
            if taken == left && self.argument.is_empty() {
                self.keep(Bytes::copy_from_slice(&input[..wanted]));
            } else {
                self.argument.extend_from_slice(&input[..wanted]);
                if taken == left {
                    let argument = std::mem::take(&mut self.argument);
                    self.keep(argument.freeze());
                }
            }
        }
        *input = &input[taken..];
        if taken < left {
            self.state = State::Argument { missing, left: left - taken };
            return Ok(false);
        }
        self.after_argument(missing - 1)
    }

    fn keep(&mut self, argument: Bytes) {
        self.kept += argument.len() + size_of::<Bytes>();
        self.args.push(argument);
    }

    fn after_argument(&mut self, missing: usize) -> Result<bool, Step> {
        if missing > 0 {
            self.state = State::Length { missing };
            return Ok(true);
        }
        self.state = State::Start;
        self.finish()
    }

    /// A request is whole. One without arguments asks for nothing.
    fn finish(&mut self) -> Result<bool, Step> {
        match self.past.take() {
            Some(past) => Err(past),
            None if self.args.is_empty() => Ok(true),
            None => Err(Step::Request(self.taken)),
        }
    }

    /// The length in the line.
    fn announced(&self, trusted: bool, limits: &Limits) -> Result<usize, Step> {
        match self.line.first() {
            Some(b'$') => {}
            // The carriage return that ended the line is then what stands in the length's place.
            other => return Err(Step::Broken(Broken::Expected(*other.unwrap_or(&b'\r')))),
        }
        let length = integer(&self.line[1..])
            .filter(|&length| (0..=limits.announced_bytes_max).contains(&length))
            .ok_or(Step::Broken(Broken::ArgumentLength))?;
        if !trusted && length > limits.stranger.1 as i64 {
            return Err(Step::Broken(Broken::StrangerArgument));
        }
        Ok(length as usize)
    }

    /// Decides whether an argument of `length` is kept or the whole request only read past.
    fn allow(&mut self, length: usize, limits: &Limits) {
        self.bytes = self.bytes.saturating_add(length);
        if self.past.is_some() {
            return;
        }
        let too_large = |what, seen: usize, allowed: usize| Step::TooLarge {
            what,
            seen: seen as u64,
            allowed: allowed as u64,
        };
        if length > limits.arg_bytes_max {
            self.read_past(too_large("value", length, limits.arg_bytes_max));
        } else if self.bytes > limits.request_bytes_max {
            self.read_past(too_large("request", self.bytes, limits.request_bytes_max));
        }
    }

    fn read_past(&mut self, because: Step) {
        self.args = Vec::new();
        self.argument = BytesMut::new();
        self.kept = 0;
        self.past = Some(because);
    }

    /// Takes bytes up to a carriage return and the one byte after it, whatever that is, as Redis
    /// does. Whether the line is whole.
    fn take_line(&mut self, input: &mut &[u8], too_long: Broken) -> Result<bool, Step> {
        if !self.ending {
            self.ending = self.take_until(b'\r', input, too_long)?;
        }
        if !self.ending || input.is_empty() {
            return Ok(false);
        }
        *input = &input[1..];
        Ok(true)
    }

    /// Takes bytes up to a line feed, and drops a carriage return before it.
    fn take_inline(&mut self, input: &mut &[u8]) -> Result<bool, Step> {
        if !self.take_until(b'\n', input, Broken::InlineLine)? {
            return Ok(false);
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(true)
    }

    /// Moves bytes up to `end` into the line, and takes `end`. Whether `end` was there.
    fn take_until(&mut self, end: u8, input: &mut &[u8], too_long: Broken) -> Result<bool, Step> {
        // One byte more than fits is enough to know that the line is too long.
        let seen = &input[..input.len().min(LINE_BYTES_MAX + 2 - self.line.len())];
        let place = seen.iter().position(|&byte| byte == end);
        self.line.extend_from_slice(&seen[..place.unwrap_or(seen.len())]);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(Step::Broken(too_long));
        }
        *input = &input[place.map_or(seen.len(), |place| place + 1)..];
        Ok(place.is_some())
    }

    fn clear_line(&mut self) {
        self.line.clear();
        self.line.shrink_to(256);
        self.ending = false;
    }
}

/// A number of up to nine digits and its line end at `input[*at..]`, moving `at` behind them.
/// `None` for anything else, also if the line has no end yet.
fn short_number(input: &[u8], at: &mut usize) -> Option<usize> {
    let mut number = 0;
    for digits in 0..=9 {
        match *input.get(*at + digits)? {
            digit @ b'0'..=b'9' if !(digits > 0 && number == 0) => {
                number = number * 10 + usize::from(digit - b'0');
            }
            b'\r' if digits > 0 => {
                input.get(*at + digits + 1)?;
                *at += digits + 2;
                return Some(number);
            }
            _ => return None,
        }
    }
    None
}

/// Splits an inline request into words, the way Redis does: words may be quoted, `"..."` knows
/// escapes, `'...'` knows only `\'`, and after a closing quote there must be a space.
fn split_words(line: &[u8], words: &mut Vec<Bytes>) -> Result<(), Broken> {
    let space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let mut rest = line;
    loop {
        let blank = rest.iter().take_while(|&&byte| space(byte)).count();
        rest = &rest[blank..];
        if rest.is_empty() {
            return Ok(());
        }
        let mut word = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => break,
                b'"' | b'\'' => {
                    rest = quoted(byte, rest, &mut word).ok_or(Broken::Quotes)?;
                    if rest.first().is_some_and(|&next| !space(next)) {
                        return Err(Broken::Quotes);
                    }
                    break;
                }
                byte => word.push(byte),
            }
        }
        words.push(Bytes::from(word));
    }
}

/// Reads up to the closing `quote`, and returns what lies behind it.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match (quote, rest) {
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                word.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                word.push(b'\'');
                rest = after;
            }
            (quote, [byte, after @ ..]) if *byte == quote => return Some(after),
            (_, [byte, after @ ..]) => {
                word.push(*byte);
                rest = after;
            }
            (_, []) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(step: Step, parser: &mut Parser) -> String {
        match step {
            Step::Request(_) => {
                let words: Vec<_> =
                    parser.args().iter().map(|arg| arg.escape_ascii().to_string()).collect();
                words.join(",")
            }
            Step::Broken(broken) => broken.text(),
            other => format!("{other:?}"),
        }
    }

    /// Everything that `input` holds, fed in pieces of `size` bytes.
    fn read(input: &[u8], size: usize, trusted: bool, limits: &Limits) -> Vec<String> {
        let (mut parser, mut seen) = (Parser::default(), Vec::new());
        for mut piece in input.chunks(size.max(1)) {
            loop {
                match parser.next(&mut piece, trusted, limits) {
                    Step::More => break,
                    step => {
                        let broken = matches!(step, Step::Broken(_));
                        seen.push(show(step, &mut parser));
                        if broken {
                            return seen;
                        }
                    }
                }
            }
        }
        seen
    }

    /// The same in pieces of every size.
    fn requests(input: &[u8]) -> Vec<String> {
        let whole = read(input, input.len(), true, &Limits::default());
        for size in 1..input.len().min(200) {
            assert_eq!(read(input, size, true, &Limits::default()), whole, "pieces of {size}");
        }
        whole
    }

    #[test]
    fn arrays_and_lines_are_the_same_requests() {
        assert_eq!(requests(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nGET k\r\nGET  k \n"), ["GET,k"; 3]);
        assert_eq!(requests(b"*1\r\n$0\r\n\r\n"), [""]);
        assert_eq!(requests(b"\r\n\n*0\r\n*-1\r\nPING\r\n"), ["PING"]);
        assert_eq!(requests(b"*2\r\n$4\r\n\r\n\x00\xff\r\n$1\r\na"), Vec::<String>::new());
        assert_eq!(requests(b"*1\r\n$4\r\n\r\n\x00\xff\r\n"), ["\\r\\n\\x00\\xff"]);
    }

    #[test]
    fn lines_know_quotes_and_escapes() {
        assert_eq!(requests(br#"a "b c" 'd e' "\x41\n\"" 'it\'s' f"g h""#).len(), 0);
        assert_eq!(
            requests(b"a \"b c\" 'd e' \"\\x41\\n\\\"\\q\" 'it\\'s' f\"g h\" \"\"\r\n"),
            ["a,b c,d e,A\\n\\\"q,it\\'s,fg h,"]
        );
        for line in ["\"a", "'a", "\"a\"b", "'a'b", "a \"", "\"a\\\""] {
            let seen = requests(format!("{line}\r\n").as_bytes());
            assert_eq!(seen, ["ERR Protocol error: unbalanced quotes in request"], "{line}");
        }
    }

    #[test]
    fn what_is_no_resp_is_told_as_redis_tells_it() {
        for (input, text) in [
            ("*a\r\n", "invalid multibulk length"),
            ("*+1\r\n", "invalid multibulk length"),
            ("*99999999999999999999\r\n", "invalid multibulk length"),
            ("*2000000\r\n", "invalid multibulk length"),
            ("*1\r\nGET\r\n", "expected '$', got 'G'"),
            ("*1\r\n:1\r\n", "expected '$', got ':'"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$a\r\n", "invalid bulk length"),
            ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ] {
            let expected = format!("ERR Protocol error: {text}");
            assert_eq!(requests(input.as_bytes()), [expected], "{input:?}");
        }
        let long = "x".repeat(LINE_BYTES_MAX);
        for (start, text) in [
            ("*", "too big mbulk count string"),
            ("*1\r\n$", "too big bulk count string"),
            ("x", "too big inline request"),
        ] {
            let expected = format!("ERR Protocol error: {text}");
            let input = format!("{start}{long}");
            for size in [1000, 65_537, input.len()] {
                let seen = read(input.as_bytes(), size, true, &Limits::default());
                assert_eq!(seen, std::slice::from_ref(&expected));
            }
        }
    }

    #[test]
    fn a_stranger_gets_little_room() {
        let limits = Limits::default();
        assert_eq!(
            read(b"*11\r\n", 99, false, &limits),
            ["ERR Protocol error: unauthenticated multibulk length"]
        );
        assert_eq!(
            read(b"*1\r\n$16385\r\n", 99, false, &limits),
            ["ERR Protocol error: unauthenticated bulk length"]
        );
        assert_eq!(read(b"*1\r\n$1\r\na\r\n", 99, false, &limits), ["a"]);
    }

    #[test]
    fn what_is_too_large_is_read_past() {
        let limits = Limits { arg_bytes_max: 10, request_bytes_max: 15, ..Limits::default() };
        let input = b"*2\r\n$11\r\n01234567890\r\n$1\r\na\r\nPING\r\n*2\r\n$8\r\n01234567\r\n$8\r\n01234567\r\n*1\r\n$1\r\nb\r\n";
        for size in 1..input.len() {
            let seen = read(input, size, true, &limits);
            assert_eq!(
                seen,
                [
                    "TooLarge { what: \"value\", seen: 11, allowed: 10 }",
                    "PING",
                    "TooLarge { what: \"request\", seen: 16, allowed: 15 }",
                    "b"
                ]
            );
        }
    }

    #[test]
    fn announced_bytes_cost_nothing_until_they_come() {
        let mut parser = Parser::default();
        let mut input = &b"*1000000\r\n$4000000\r\nabc"[..];
        assert_eq!(parser.next(&mut input, true, &Limits::default()), Step::More);
        assert!(parser.held() < 1000, "{} bytes are held for 22 that came", parser.held());
    }

    #[test]
    fn a_request_given_up_is_read_past() {
        let mut parser = Parser::default();
        let mut input = &b"*2\r\n$3\r\nabc\r\n$5\r\nx"[..];
        assert_eq!(parser.next(&mut input, true, &Limits::default()), Step::More);
        parser.give_up();
        assert!(parser.held() < 100);
        let mut input = &b"yyyy\r\nPING\r\n"[..];
        assert_eq!(parser.next(&mut input, true, &Limits::default()), Step::GivenUp);
        let step = parser.next(&mut input, true, &Limits::default());
        assert_eq!(show(step, &mut parser), "PING");
    }

    #[test]
    fn random_bytes_read_alike_in_every_cut_and_never_panic() {
        let mut random = base::Random::new(11);
        let alphabet = b"**$$\r\n\r\n\r\n012359-ab\"'\\x \0\xff";
        for _ in 0..3000 {
            let length = random.below(60) as usize;
            let input: Vec<u8> =
                (0..length).map(|_| *random.pick(alphabet).unwrap_or(&0)).collect();
            let whole = read(&input, input.len(), true, &Limits::default());
            let size = random.between(1, 8) as usize;
            assert_eq!(read(&input, size, true, &Limits::default()), whole, "{input:?}");
        }
    }
}

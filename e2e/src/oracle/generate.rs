//! Random requests, most of which make sense.

use super::random::Random;

/// A word of a request.
pub type Word = Vec<u8>;

/// Something to be sent to both servers and compared as a whole.
#[derive(Clone, Debug)]
pub struct Item {
    /// The command that each expected reply belongs to, in order.
    pub names: Vec<String>,
    /// The words of a single request; empty for several and for broken ones.
    pub words: Vec<Word>,
    /// What to send.
    pub steps: Vec<Step>,
    /// The connection ends with it.
    pub closes: bool,
    /// A key whose value may differ afterwards for a known reason.
    pub unequal: Option<Word>,
}

/// Bytes, and how many replies they get.
#[derive(Clone, Debug)]
pub struct Step {
    /// Sent on another connection.
    pub elsewhere: bool,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// How many replies come.
    pub replies: usize,
}

/// A request as an array.
pub fn frame(words: &[Word]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn words(line: &str) -> Vec<Word> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// How often each command comes, and its arguments in a small language:
///
/// * `K` a key, `K+` one to four of them, `L` one that is too long, `KV+` one to four keys with values
/// * `V` a value, `I` an integer, `D` a decimal number, `F` one to add, `O` an offset
/// * `S` seconds from now, `M` milliseconds from now, `A` a second, `B` a millisecond
/// * `G` a glob, `N` a database
/// * `[a|b|c]` one of them or none, `<a|b>` one of them; parts are joined with `_`
const COMMANDS: &[(u64, &str)] = &[
    (60, "GET K"),
    (1, "GET L"),
    (60, "SET K V [NX|XX|GET|KEEPTTL|EX_S|PX_M|EXAT_A|PXAT_B] [NX|XX|GET|KEEPTTL]"),
    (20, "SET K I"),
    (12, "SET K D"),
    (10, "SETNX K V"),
    (10, "SETEX K S V"),
    (10, "PSETEX K M V"),
    (12, "GETSET K V"),
    (10, "GETDEL K"),
    (14, "GETEX K [EX_S|PX_M|EXAT_A|PXAT_B|PERSIST]"),
    (16, "MGET K+"),
    (14, "MSET KV+"),
    (8, "MSETNX KV+"),
    (18, "APPEND K V"),
    (12, "STRLEN K"),
    (16, "GETRANGE K O O"),
    (6, "SUBSTR K O O"),
    (12, "SETRANGE K O V"),
    (18, "INCR K"),
    (12, "INCRBY K I"),
    (14, "INCRBYFLOAT K F"),
    (10, "DECR K"),
    (10, "DECRBY K I"),
    (12, "LCS K K [LEN|IDX] [MINMATCHLEN_I|WITHMATCHLEN]"),
    (20, "DEL K+"),
    (8, "UNLINK K+"),
    (12, "EXISTS K+"),
    (8, "TOUCH K+"),
    (10, "TYPE K"),
    (12, "TTL K"),
    (10, "PTTL K"),
    (12, "EXPIRE K S [NX|XX|GT|LT] [XX|GT]"),
    (10, "PEXPIRE K M [NX|XX|GT|LT]"),
    (10, "EXPIREAT K A [NX|XX|GT|LT]"),
    (10, "PEXPIREAT K B [NX|XX|GT|LT]"),
    (8, "EXPIRETIME K"),
    (8, "PEXPIRETIME K"),
    (10, "PERSIST K"),
    (10, "RENAME K K"),
    (8, "RENAMENX K K"),
    (12, "COPY K K [REPLACE|DB_N] [REPLACE]"),
    (5, "RANDOMKEY"),
    (6, "KEYS G"),
    (6, "SCAN 0 COUNT 100000 [MATCH_G|TYPE_string|TYPE_hash]"),
    (4, "SCAN 0 [COUNT_I|MATCH_G]"),
    (10, "OBJECT ENCODING K"),
    (3, "OBJECT IDLETIME K"),
    (3, "OBJECT FREQ K"),
    (3, "OBJECT REFCOUNT K"),
    (8, "DBSIZE"),
    (8, "PING [V]"),
    (6, "ECHO V"),
    (10, "SELECT N"),
    (2, "TIME"),
    (1, "FLUSHDB [ASYNC|SYNC]"),
    (1, "FLUSHALL [ASYNC|SYNC]"),
    (2, "WAIT 0 0"),
    (4, "CLIENT GETNAME"),
    (4, "CLIENT SETNAME [x|a-b|a_b]"),
    (2, "CLIENT ID"),
    (2, "CLIENT INFO"),
    (2, "CLIENT LIST [TYPE_normal|TYPE_foo|ID_I]"),
    (2, "CLIENT NO-EVICT [on|off|x]"),
    (1, "CLIENT KILL <ID_999999|ADDR_1.2.3.4:5|1.2.3.4:5|TYPE_x|USER_x|ID_0>"),
    (2, "CLIENT FOO"),
    (6, "HELLO <2|3|3|4|x> [SETNAME_me|AUTH_default_x|AUTH_x|SETNAME]"),
    (2, "AUTH <x|default_x|other_x>"),
    (2, "COMMAND INFO <get|mset|set|del|object|client|ping|nope|exec|watch|select|lcs>"),
    (1, "COMMAND COUNT"),
    (1, "COMMAND DOCS <get|set>"),
    (1, "COMMAND LIST FILTERBY PATTERN <getr*|*ttl|xyz>"),
    (3, "COMMAND GETKEYS <get_a|mset_a_1_b_2|ping|nope|del_a_b_c|object_freq_a|set_a|lcs_a_b>"),
    (2, "CONFIG GET <maxmemory|databases|nope|maxmemory-p*>"),
    (2, "INFO [server|nope]"),
    (2, "RESET"),
    (1, "MULTI"),
    (2, "EXEC"),
    (2, "DISCARD"),
    (2, "UNWATCH"),
    (4, "NOPE V I"),
    (1, "HGETALLX K"),
];

/// Commands that may stand in a transaction, where nothing may differ for a known reason.
const IN_MULTI: &[&str] = &[
    "GET K",
    "SET K V",
    "SET K I",
    "INCR K",
    "DEL K+",
    "APPEND K V",
    "MGET K+",
    "EXISTS K+",
    "GETSET K V",
    "PING",
    "ECHO V",
    "SELECT N",
    "STRLEN K",
    "RENAME K K",
    "COPY K K REPLACE",
    "SETNX K V",
    "SET K V EX abc",
    "GETRANGE K O O",
    "TYPE K",
    "INCRBY K I",
    "PERSIST K",
    "MSETNX KV+",
    "CLIENT SETNAME tx",
    "UNWATCH",
];

/// Commands that change a watched key, or look as if they did.
const TOUCHES: &[&str] = &[
    "SET K V",
    "SET K V",
    "DEL K",
    "APPEND K V",
    "EXPIRE K S",
    "PERSIST K",
    "SETNX K V",
    "GETEX K",
    "INCR K",
    "TOUCH K",
    "SETRANGE K 0 V",
    "GETDEL K",
    "RENAME K K",
    "FLUSHDB",
];

/// Frames that are no requests, and how many replies they get before the connection ends.
const BROKEN: &[(&str, usize)] = &[
    ("*a\r\n", 1),
    ("*+1\r\n", 1),
    ("*1\r\nGET\r\n", 1),
    ("*2\r\n$3\r\nGET\r\n:1\r\n", 1),
    ("*1\r\n$-1\r\n", 1),
    ("*1\r\n$abc\r\n", 1),
    ("*1\r\n$ 3\r\nGET\r\n", 1),
    ("*2\r\n$4\r\nPING\r\n$99999999999\r\n", 1),
    ("*99999999999\r\n", 1),
    ("PING\r\n*1\r\n$x\r\n", 2),
    ("SET \"a b\r\n", 1),
    ("GET 'a\r\n", 1),
    ("GET \"a\"b\r\n", 1),
    ("QUIT\r\n", 1),
    ("QUIT now please\r\n", 1),
    ("*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n", 1),
];

/// Odd frames after which the connection goes on, with the replies that they get.
const ODD: &[(&str, usize)] = &[
    ("\r\nPING\r\n", 1),
    ("*0\r\nPING\r\n", 1),
    ("*-5\r\nPING\r\n", 1),
    ("PING\n", 1),
    ("  PING  \r\n", 1),
    ("\"PING\" \"a\\x41\\n\"\r\n", 1),
    ("ECHO 'it\\'s'\r\n", 1),
    ("*1\r\n$4\r\nPINGxx", 1),
    ("*1\r\n$0\r\n\r\n", 1),
    ("\"\"\r\n", 1),
    ("get\tk1\r\n", 1),
    ("*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n*1\r\n$4\r\nPING\r\n", 2),
];

const KEYS: &[&str] = &[
    "k1",
    "k2",
    "k3",
    "k4",
    "k5",
    "k6",
    "k7",
    "k8",
    "key:9",
    "key:10",
    "long-key-number-eleven",
    "",
    "a b",
    "k\u{e9}",
];

/// Makes items from a seed.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    weight: u64,
}

impl Generator {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Generator {
        let weight = COMMANDS.iter().map(|(weight, _)| weight).sum();
        Generator { random: Random::new(seed), weight }
    }

    /// Its random numbers.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next thing to send.
    pub fn item(&mut self) -> Item {
        match self.random.below(1000) {
            0..=7 => self.broken(),
            8..=20 => self.odd(),
            21..=60 => self.transaction(),
            61..=70 => self.unheard(),
            71..=90 => self.pipeline(),
            _ => self.single(),
        }
    }

    fn single(&mut self) -> Item {
        let template = self.template();
        let mut words = self.fill(template);
        if words[0] == b"MULTI" {
            // A lone MULTI would leave the connection in a transaction, as does SYNC, below, in
            // replication.
            words[0] = b"PING".to_vec();
        }
        if self.random.percent(6) {
            self.spoil(&mut words);
        }
        if words[0] == b"SYNC" {
            words[0] = b"PING".to_vec();
        }
        if self.random.percent(10) {
            words[0].make_ascii_lowercase();
        }
        let name = name(&words);
        let unequal = (name == "INCRBYFLOAT").then(|| words.get(1).cloned()).flatten();
        let step = Step { elsewhere: false, bytes: frame(&words), replies: 1 };
        Item { names: vec![name], words, steps: vec![step], closes: false, unequal }
    }

    fn template(&mut self) -> &'static str {
        let mut place = self.random.below(self.weight);
        for (weight, template) in COMMANDS {
            match place.checked_sub(*weight) {
                Some(rest) => place = rest,
                None => return template,
            }
        }
        "PING"
    }

    /// Several commands in one transaction, sometimes with watched keys that change or don't.
    fn transaction(&mut self) -> Item {
        let (mut names, mut steps) = (Vec::new(), Vec::new());
        let mut send = |elsewhere: bool, words: &[Word]| {
            names.push(name(words));
            steps.push(Step { elsewhere, bytes: frame(words), replies: 1 });
        };
        // Both connections must look at the same database.
        send(false, &words("SELECT 0"));
        if self.random.percent(50) {
            let watched = self.key();
            send(false, &[b"WATCH".to_vec(), watched.clone()]);
            if self.random.percent(50) {
                let template = self.random.pick(TOUCHES);
                let mut touch = self.fill(template);
                if let Some(key) = touch.get_mut(1) {
                    *key = watched;
                }
                send(true, &words("SELECT 0"));
                send(true, &touch);
            }
        }
        send(false, &words("MULTI"));
        for _ in 0..self.random.below(6) {
            let template = self.random.pick(IN_MULTI);
            let mut words = self.fill(template);
            if self.random.percent(2) {
                words.truncate(1);
            }
            if self.random.percent(1) {
                words[0] = b"NOPE".to_vec();
            }
            send(false, &words);
        }
        let last = self.random.pick(&["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD"]);
        send(false, &words(last));
        if self.random.percent(50) {
            steps = joined(steps);
        }
        Item { names, words: Vec::new(), steps, closes: false, unequal: None }
    }

    /// Requests between CLIENT REPLY OFF and ON, or one after SKIP.
    fn unheard(&mut self) -> Item {
        let mut bytes = Vec::new();
        let (key, value) = (self.key(), self.value());
        let set = [b"SET".to_vec(), key, value];
        if self.random.percent(50) {
            bytes.extend(frame(&words("CLIENT REPLY OFF")));
            bytes.extend(frame(&set));
            bytes.extend(frame(&words("CLIENT REPLY ON")));
        } else {
            bytes.extend(frame(&words("CLIENT REPLY SKIP")));
            bytes.extend(frame(&set));
            bytes.extend(frame(&words("PING")));
        }
        let step = Step { elsewhere: false, bytes, replies: 1 };
        let names = vec!["CLIENT REPLY".to_owned()];
        Item { names, words: Vec::new(), steps: vec![step], closes: false, unequal: None }
    }

    /// Several requests at once.
    fn pipeline(&mut self) -> Item {
        let (mut names, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..self.random.below(20) + 2 {
            let template = self.random.pick(IN_MULTI);
            let words = self.fill(template);
            names.push(name(&words));
            bytes.extend(frame(&words));
        }
        let step = Step { elsewhere: false, bytes, replies: names.len() };
        Item { names, words: Vec::new(), steps: vec![step], closes: false, unequal: None }
    }

    fn broken(&mut self) -> Item {
        let (text, replies) = BROKEN[self.random.below(BROKEN.len() as u64) as usize];
        let step = Step { elsewhere: false, bytes: text.as_bytes().to_vec(), replies };
        let names = vec!["(broken)".to_owned(); replies];
        Item { names, words: Vec::new(), steps: vec![step], closes: true, unequal: None }
    }

    fn odd(&mut self) -> Item {
        let (text, replies) = ODD[self.random.below(ODD.len() as u64) as usize];
        let step = Step { elsewhere: false, bytes: text.as_bytes().to_vec(), replies };
        let names = vec!["(odd)".to_owned(); replies];
        Item { names, words: Vec::new(), steps: vec![step], closes: false, unequal: None }
    }

    /// The words of a template.
    fn fill(&mut self, template: &str) -> Vec<Word> {
        let mut words = Vec::new();
        for part in template.split(' ') {
            self.part(part, &mut words);
        }
        words
    }

    fn part(&mut self, part: &str, words: &mut Vec<Word>) {
        if let Some(choices) = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if self.random.percent(45) {
                self.choose(choices, words);
            }
            return;
        }
        if let Some(choices) = part.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            return self.choose(choices, words);
        }
        match part {
            "K" => words.push(self.key()),
            "L" => words.push(vec![b'l'; 17_000]),
            "K+" => (0..=self.random.below(4)).for_each(|_| words.push(self.key())),
            "KV+" => {
                for _ in 0..=self.random.below(4) {
                    words.push(self.key());
                    words.push(self.value());
                }
            }
            "V" => words.push(self.value()),
            "I" => words.push(self.integer()),
            "D" => words.push(self.decimal()),
            "F" => words.push(self.increment()),
            "O" => words.push(self.offset()),
            "S" => words.push(self.time_ahead(1)),
            "M" => words.push(self.time_ahead(1000)),
            "A" => words.push(self.moment(1)),
            "B" => words.push(self.moment(1000)),
            "G" => {
                let globs =
                    ["*", "k*", "*1*", "k?", "key:[0-9]*", "k[^1-4]", "nope", "\\k1", "[", ""];
                words.push(self.random.pick(&globs).as_bytes().to_vec());
            }
            "N" => {
                let numbers = ["0", "0", "0", "0", "1", "15", "16", "-1", "x", "99999999999"];
                words.push(self.random.pick(&numbers).as_bytes().to_vec());
            }
            literal => words.push(literal.as_bytes().to_vec()),
        }
    }

    fn choose(&mut self, choices: &str, words: &mut Vec<Word>) {
        let choices: Vec<&str> = choices.split('|').collect();
        let choice = self.random.pick(&choices);
        choice.split('_').for_each(|part| self.part(part, words));
    }

    fn key(&mut self) -> Word {
        self.random.pick(KEYS).as_bytes().to_vec()
    }

    fn value(&mut self) -> Word {
        match self.random.below(20) {
            0..=5 => self.integer(),
            6..=8 => self.decimal(),
            9 => Vec::new(),
            10 => (0..=255).collect(),
            11 => vec![b'x'; self.random.below(16_000) as usize],
            12 => b"a\r\nb".to_vec(),
            _ => {
                let length = self.random.below(60) as usize;
                (0..length).map(|_| b"abcab c123"[self.random.below(10) as usize]).collect()
            }
        }
    }

    fn integer(&mut self) -> Word {
        match self.random.below(20) {
            0 => b"9223372036854775807".to_vec(),
            1 => b"-9223372036854775808".to_vec(),
            2 => b"9223372036854775800".to_vec(),
            3 => b"0".to_vec(),
            4 => self.number_or_not(),
            _ => (self.random.below(2000) as i64 - 1000).to_string().into_bytes(),
        }
    }

    /// Texts at the edge of what is a number. None is hexadecimal: stored as a value, that would be a
    /// number for INCRBYFLOAT of one of the two only.
    fn number_or_not(&mut self) -> Word {
        let texts = [
            "",
            "abc",
            "1.5",
            " 1",
            "1 ",
            "+1",
            "01",
            "-0",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "-",
            "--1",
            "1\0",
        ];
        self.random.pick(&texts).as_bytes().to_vec()
    }

    fn decimal(&mut self) -> Word {
        let texts = [
            "0.5",
            "1.25",
            "-2.75",
            "3",
            "1e2",
            "0.1",
            "3.14159",
            "5e-3",
            "-0.1",
            "10.5",
            "1.0",
            "100",
            "2.5e2",
            "0.000001",
            "123456789.125",
        ];
        self.random.pick(&texts).as_bytes().to_vec()
    }

    /// A decimal number, or a text at the edge of what is one.
    fn increment(&mut self) -> Word {
        if self.random.percent(80) {
            return self.decimal();
        }
        let texts = [
            "nan", "inf", "-inf", "abc", "", "1e300", " 1.5", "1.5 ", "+1.5", "0x1p3", ".5", "5.",
            "-.5e1", "1e", "1e5000", "1..5", "-",
        ];
        self.random.pick(&texts).as_bytes().to_vec()
    }

    fn offset(&mut self) -> Word {
        match self.random.below(12) {
            0 => self.number_or_not(),
            1 => b"-9223372036854775808".to_vec(),
            2 => b"9223372036854775807".to_vec(),
            3 => self.random.pick(&["-1", "-1", "0x10"]).as_bytes().to_vec(),
            4..=6 => (-(self.random.below(12) as i64)).to_string().into_bytes(),
            _ => self.random.below(40).to_string().into_bytes(),
        }
    }

    /// A time from now that does not come while the test runs.
    fn time_ahead(&mut self, unit: u64) -> Word {
        match self.random.below(16) {
            0 => b"0".to_vec(),
            1 => b"-5".to_vec(),
            2 => b"9223372036854775807".to_vec(),
            3 => b"9223372036854775".to_vec(),
            4 => b"-9223372036854775808".to_vec(),
            5 => b"abc".to_vec(),
            _ => ((self.random.below(100_000) + 5_000) * unit).to_string().into_bytes(),
        }
    }

    /// A moment, far from now.
    fn moment(&mut self, unit: u64) -> Word {
        match self.random.below(14) {
            0 => b"0".to_vec(),
            1 => b"-5".to_vec(),
            2 => b"9223372036854775807".to_vec(),
            3 => b"1000".to_vec(),
            4 => b"abc".to_vec(),
            5 => b"9223372036854775".to_vec(),
            _ => ((self.random.below(100_000) + 5_000_000_000) * unit).to_string().into_bytes(),
        }
    }

    /// Makes a mistake, or something that looks like one.
    fn spoil(&mut self, words: &mut Vec<Word>) {
        let place = 1 + self.random.below(words.len().max(2) as u64 - 1) as usize;
        match self.random.below(4) {
            0 => words.truncate(place),
            1 => words.push(self.random.pick(&["x", "NX", "EX", "0", "GET"]).as_bytes().to_vec()),
            2 if place < words.len() => words[place] = self.number_or_not(),
            _ => {
                words.remove(self.random.below(words.len() as u64) as usize);
                if words.is_empty() {
                    words.push(b"PING".to_vec());
                }
            }
        }
    }
}

/// Steps on the same connection that follow each other, sent at once.
fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    for step in steps {
        match all.last_mut() {
            Some(last) if last.elsewhere == step.elsewhere => {
                last.bytes.extend(step.bytes);
                last.replies += step.replies;
            }
            _ => all.push(step),
        }
    }
    all
}

/// What a request is counted as.
fn name(words: &[Word]) -> String {
    const FAMILIES: [&str; 4] = ["CLIENT", "COMMAND", "CONFIG", "OBJECT"];
    let upper = |word: &Word| String::from_utf8_lossy(word).to_ascii_uppercase();
    let first = words.first().map(upper).unwrap_or_default();
    let known = COMMANDS.iter().any(|(_, template)| template.split(' ').next() == Some(&first));
    match words.get(1) {
        _ if !known || first == "NOPE" || first == "HGETALLX" => "(unknown)".to_owned(),
        Some(second) if FAMILIES.contains(&first.as_str()) => format!("{first} {}", upper(second)),
        _ => first,
    }
}

use super::super::frame::{HANDSHAKE_BODY_MAX, decode};
use super::*;
use base::Random;

fn hello(node: u64) -> Hello {
    Hello {
        protocol: (1, 3),
        cluster: ClusterId(0xc1),
        node: NodeId(node),
        incarnation: Incarnation(node + 100),
        link: LinkKind::Normal,
        nonce: [node as u8; 32],
    }
}

fn secret() -> Secret {
    Secret::new([7; 32])
}

/// Both sides of a handshake, and what they came to.
struct Pair {
    dialer: Handshake,
    listener: Handshake,
    to_dialer: BytesMut,
    to_listener: BytesMut,
    dialer_has: Option<Result<Peer, Refused>>,
    listener_has: Option<Result<Peer, Refused>>,
}

impl Pair {
    fn new(dialer: Hello, listener: Hello, listener_secret: Secret) -> Pair {
        let mut to_listener = BytesMut::new();
        Pair {
            dialer: Handshake::dial(dialer, secret(), NodeId(2), &mut to_listener),
            listener: Handshake::listen(listener, listener_secret),
            to_dialer: BytesMut::new(),
            to_listener,
            dialer_has: None,
            listener_has: None,
        }
    }

    /// Carries frames back and forth until both sides know; the listener admits by `admits`.
    fn run(mut self, admits: impl Fn(&Peer) -> Result<(), String>) -> Self {
        loop {
            if self.listener_has.is_none()
                && let Some(frame) = decode(&mut self.to_listener, HANDSHAKE_BODY_MAX).unwrap()
            {
                self.listener_has =
                    advance(&mut self.listener, frame, &mut self.to_dialer, &admits);
            } else if self.dialer_has.is_none()
                && let Some(frame) = decode(&mut self.to_dialer, HANDSHAKE_BODY_MAX).unwrap()
            {
                self.dialer_has =
                    advance(&mut self.dialer, frame, &mut self.to_listener, |_: &Peer| Ok(()));
            } else {
                return self;
            }
        }
    }

    fn both_refuse(self, words: &str) {
        let refusals = [self.dialer_has, self.listener_has];
        let refusals = refusals.map(|has| has.expect("a side waits forever").unwrap_err());
        for refusal in &refusals {
            assert!(refusal.text.contains(words), "{refusal} does not say {words:?}");
        }
        assert_ne!(refusals[0].by_peer, refusals[1].by_peer, "one refused, the other was told");
    }
}

fn advance(
    side: &mut Handshake,
    frame: Frame,
    out: &mut BytesMut,
    admits: impl Fn(&Peer) -> Result<(), String>,
) -> Option<Result<Peer, Refused>> {
    match side.receive(frame, out) {
        Ok(Step::Waiting) => None,
        Ok(Step::Proven(peer)) => Some(match admits(&peer) {
            Ok(()) => {
                side.admit(out);
                Ok(peer)
            }
            Err(text) => Err(side.refuse(text, out)),
        }),
        Err(refused) => Some(Err(refused)),
    }
}

fn welcome(_: &Peer) -> Result<(), String> {
    Ok(())
}

#[test]
fn two_nodes_of_a_cluster_come_to_know_each_other() {
    let mut dialer = hello(1);
    dialer.link = LinkKind::Bulk;
    dialer.protocol = (2, 9);
    let pair = Pair::new(dialer, hello(2), secret()).run(welcome);
    let at_listener = pair.listener_has.unwrap().unwrap();
    let at_dialer = pair.dialer_has.unwrap().unwrap();
    assert_eq!((at_listener.node, at_listener.incarnation), (NodeId(1), Incarnation(101)));
    assert_eq!((at_dialer.node, at_dialer.incarnation), (NodeId(2), Incarnation(102)));
    assert_eq!((at_listener.link, at_dialer.link), (LinkKind::Bulk, LinkKind::Bulk));
    assert_eq!((at_listener.protocol, at_dialer.protocol), (3, 3), "the highest common one");
}

#[test]
fn a_node_of_another_cluster_is_told_so() {
    let mut other = hello(1);
    other.cluster = ClusterId(0xbad);
    Pair::new(other, hello(2), secret()).run(welcome).both_refuse("different clusters");
}

#[test]
fn nodes_without_a_common_version_are_told_both_ranges() {
    let mut new = hello(1);
    new.protocol = (4, 6);
    Pair::new(new, hello(2), secret())
        .run(welcome)
        .both_refuse("n2 speaks 1 to 3, n1 speaks 4 to 6");
}

#[test]
fn a_wrong_secret_is_refused_and_nothing_leaks() {
    let pair = Pair::new(hello(1), hello(2), Secret::new([8; 32])).run(welcome);
    pair.both_refuse("do not have the same cluster secret");
    assert_eq!(format!("{:?}", secret()), "Secret(…)");
}

#[test]
fn an_unknown_incarnation_is_refused_with_the_callers_words() {
    let words = "run \"underpin node replace\"";
    Pair::new(hello(1), hello(2), secret()).run(|_| Err(words.into())).both_refuse(words);
}

#[test]
fn an_address_that_leads_to_another_node_is_noticed() {
    Pair::new(hello(1), hello(3), secret()).run(welcome).both_refuse("n2 was expected");
    Pair::new(hello(1), hello(1), secret()).run(welcome).both_refuse("both ends say");
}

#[test]
fn a_node_can_not_be_made_to_prove_itself_to_its_own_echo() {
    // An attacker who knows no secret sends everything back, under another node's name.
    let mut out = BytesMut::new();
    let mut dialer = Handshake::dial(hello(1), secret(), NodeId(2), &mut out);
    let mut echo = hello(2);
    echo.nonce = [1; 32];
    let greeting = Frame { kind: Kind::Hello, body: echo.encode() };
    out.clear();
    assert_eq!(dialer.receive(greeting, &mut out), Ok(Step::Waiting));
    let proof = decode(&mut out, HANDSHAKE_BODY_MAX).unwrap().unwrap();
    assert_eq!(proof.kind, Kind::Proof);
    let refused = dialer.receive(proof, &mut out).unwrap_err();
    assert!(refused.text.contains("secret"), "{refused}");
}

#[test]
fn a_proof_from_an_earlier_handshake_is_worth_nothing() {
    let (mut out, mut old) = (BytesMut::new(), BytesMut::new());
    let mut dialer = Handshake::dial(hello(1), secret(), NodeId(2), &mut old);
    old.clear();
    let greeting = Frame { kind: Kind::Hello, body: hello(2).encode() };
    dialer.receive(greeting, &mut old).unwrap();
    let recorded = decode(&mut old, HANDSHAKE_BODY_MAX).unwrap().unwrap();

    let mut ours = hello(2);
    ours.nonce = [0xee; 32];
    let mut listener = Handshake::listen(ours, secret());
    listener.receive(Frame { kind: Kind::Hello, body: hello(1).encode() }, &mut out).unwrap();
    assert!(listener.receive(recorded, &mut out).unwrap_err().text.contains("secret"));
}

#[test]
fn whatever_is_altered_in_clear_breaks_the_proof() {
    let sent = hello(1).encode();
    for bit in 0..sent.len() * 8 {
        let mut altered = sent.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut pair = Pair::new(hello(1), hello(2), secret());
        pair.to_listener.clear();
        frame::encode(Kind::Hello, &altered, &mut pair.to_listener);
        let pair = pair.run(welcome);
        assert!(
            matches!(pair.listener_has, Some(Err(_))),
            "bit {bit} of the dialer's Hello changed and nobody noticed"
        );
    }
}

#[test]
fn frames_out_of_turn_are_refused() {
    for kind in [Kind::Proof, Kind::Message] {
        let mut out = BytesMut::new();
        let mut listener = Handshake::listen(hello(2), secret());
        let frame = Frame { kind, body: Bytes::from_static(&[0; 32]) };
        assert!(listener.receive(frame, &mut out).unwrap_err().text.contains("unexpected"));
        let again = Frame { kind: Kind::Hello, body: hello(1).encode() };
        assert!(listener.receive(again, &mut out).is_err(), "a refusal is final");
    }
}

#[test]
fn random_frames_are_refused_and_never_admitted() {
    let mut random = Random::new(5);
    for _ in 0..5_000 {
        let mut out = BytesMut::new();
        let mut listener = Handshake::listen(hello(2), secret());
        for _ in 0..4 {
            let kind = *random.pick(&[Kind::Hello, Kind::Proof, Kind::Refuse]).unwrap();
            let mut body = match random.chance(1, 2) {
                true => hello(1).encode().to_vec(),
                false => (0..random.below(200)).map(|_| random.u64() as u8).collect(),
            };
            if let Some(at) = (!body.is_empty()).then(|| random.below(body.len() as u64) as usize) {
                body[at] = random.u64() as u8;
            }
            let step = listener.receive(Frame { kind, body: body.into() }, &mut out);
            assert!(!matches!(step, Ok(Step::Proven(_))));
        }
    }
}

#[test]
fn a_refusal_cant_play_tricks_on_a_terminal() {
    let text = refused_by_peer(b"\x1b[2Jgone\n\xff").text;
    assert_eq!(text, "[2Jgone\u{fffd}");
    assert!(refused_by_peer(&[b'x'; 5000]).text.len() <= TEXT_MAX);
}

#[test]
fn these_bytes_are_what_older_and_newer_versions_speak() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&hello(1).encode()), HELLO);
    let (dialer, listener) = (hello(1).encode(), hello(2).encode());
    let proof = |label| hex(&secret().mac(label, &dialer, &listener).finalize().into_bytes());
    assert_eq!(proof(LABEL_DIALER), PROOF_DIALER);
    assert_eq!(proof(LABEL_LISTENER), PROOF_LISTENER);
    assert_eq!(hex(&Secret::from_text("correct horse").0), SECRET);
}

const HELLO: &str = concat!(
    "554e44455250494e01000300c10000000000000000000000000000000100000000000000",
    "6500000000000000000101010101010101010101010101010101010101010101010101010101010101"
);
const PROOF_DIALER: &str = "5a3998f9a4ee21435795b422e57dfb425049a6b7aa2796b0171f1a7f9ff49d3d";
const PROOF_LISTENER: &str = "4d7ff4b8e20e4ee5546cbd778330bc451938b18950c418b7e7f62afcecefaf08";
const SECRET: &str = "840af662bee560fc3485a704be6b2d383170cdd8cff44ac449a90a30b415c7cd";

//! Whether what clients saw can be true.

pub mod bank;
pub mod counter;
pub mod expiry;
pub mod invented;
pub mod linear;
pub mod sequential;
pub mod session;

/// Every guarantee of sessions, by name: how many pairs of events it had something to say about, or
/// what broke it.
pub fn of_sessions(sessions: &[session::Session]) -> [(&'static str, session::Verdict); 5] {
    [
        ("read your writes", session::read_your_writes(sessions)),
        ("monotonic reads", session::monotonic_reads(sessions)),
        ("monotonic writes", session::monotonic_writes(sessions)),
        ("writes follow reads", session::writes_follow_reads(sessions)),
        ("sequential", sequential::check(sessions)),
    ]
}

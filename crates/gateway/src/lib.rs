//! One module per framed client protocol: bytes in to requests, answers to bytes out.

//! x
#[allow(unused)] mod x {}

//! The field lines in which a proxy says for which client and user it sends a request, and which host that asked for. Only those of trusted proxies
//! are read.

/// Every line of each field, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedFields<'a> {
    pub forwarded: Vec<&'a [u8]>,
    pub remote_user: Vec<&'a [u8]>,
    pub x_forwarded_for: Vec<&'a [u8]>,
    pub x_forwarded_host: Vec<&'a [u8]>,
}

impl<'a> ForwardedFields<'a> {
    /// Stores the line if its name, in lower case, is one of these.
    pub(super) fn take(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"forwarded" => self.forwarded.push(value),
            b"remote-user" => self.remote_user.push(value),
            b"x-forwarded-for" => self.x_forwarded_for.push(value),
            b"x-forwarded-host" => self.x_forwarded_host.push(value),
            _ => {}
        }
    }
}

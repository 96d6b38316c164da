//! Makes of the list of dialects the types that hold one of them, and their dispatch.

/// For each dialect: its name in code, the module whose `Listener` is a [`Dialect`](super::Dialect), and how a
/// connection holds its protocol: inline, or in a box where it is larger than all else a connection needs. A dialect may
/// be in some builds only.
macro_rules! dialects {
    ($($(#[doc = $doc:literal])* $(#[cfg($built:meta)])? $kind:ident($module:ident) in $storage:ty,)*) => {
        /// The name of what a listener or a connection speaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[doc = $doc])* $(#[cfg($built)])? $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: [Self; [$($(#[cfg($built)])? Kind::$kind),*].len()] = [$($(#[cfg($built)])? Self::$kind),*];

            /// Their names, in the same order.
            pub const NAMES: [&'static str; Self::ALL.len()] = [$($(#[cfg($built)])? Self::$kind.name()),*];

            /// What the dialect declares of itself.
            pub const fn traits(self) -> &'static Traits {
                match self {
                    $($(#[cfg($built)])? Self::$kind => &<$module::Listener as Dialect>::TRAITS,)*
                }
            }
        }

        /// What one listener speaks: the dialect, its options, and what its connections share.
        #[derive(Clone, Debug)]
        pub enum Listening {
            $($(#[doc = $doc])* $(#[cfg($built)])? $kind(Arc<$module::Listener>),)*
        }

        impl Listening {
            /// A listener of this kind with the options of its address. `started_s` is the wall-clock time in
            /// seconds, for names that must not repeat after a restart.
            pub fn new(kind: Kind, options: &Options, started_s: u64) -> Result<Self, OptionError> {
                kind.traits().check(options)?;
                Ok(match kind {
                    $($(#[cfg($built)])? Kind::$kind => Self::$kind(Arc::new(Dialect::listen(options, started_s)?)),)*
                })
            }

            /// The protocol for a connection from `peer`.
            pub fn accept(&self, peer: SocketAddr) -> AnyProtocol {
                match self {
                    $($(#[cfg($built)])? Self::$kind(listener) => AnyProtocol::$kind(Arc::clone(listener).accept(peer).into()),)*
                }
            }

            /// Takes no passwords. To be called before the first connection.
            pub fn refuse_passwords(&mut self) {
                match self {
                    $($(#[cfg($built)])? Self::$kind(listener) => {
                        if let Some(listener) = Arc::get_mut(listener) {
                            listener.refuse_passwords();
                        }
                    })*
                }
            }

            /// Answers only requests for this machine, of that name, and for hosts that an option allows. To be
            /// called before the first connection.
            pub fn restrict_hosts(&mut self, machine: &str) {
                match self {
                    $($(#[cfg($built)])? Self::$kind(listener) => {
                        if let Some(listener) = Arc::get_mut(listener) {
                            listener.restrict_hosts(machine);
                        }
                    })*
                }
            }

            pub const fn kind(&self) -> Kind {
                match self {
                    $($(#[cfg($built)])? Self::$kind(_) => Kind::$kind,)*
                }
            }
        }

        /// The protocol of one connection.
        #[derive(Debug)]
        pub enum AnyProtocol {
            $($(#[doc = $doc])* $(#[cfg($built)])? $kind($storage),)*
        }

        impl AnyProtocol {
            pub fn protocol(&mut self) -> &mut dyn Protocol {
                match self {
                    $($(#[cfg($built)])? Self::$kind(protocol) => {
                        BorrowMut::<<$module::Listener as Dialect>::Protocol>::borrow_mut(protocol)
                    })*
                }
            }

            /// The same, for questions only.
            pub fn protocol_ref(&self) -> &dyn Protocol {
                match self {
                    $($(#[cfg($built)])? Self::$kind(protocol) => {
                        Borrow::<<$module::Listener as Dialect>::Protocol>::borrow(protocol)
                    })*
                }
            }

            pub const fn kind(&self) -> Kind {
                match self {
                    $($(#[cfg($built)])? Self::$kind(_) => Kind::$kind,)*
                }
            }
        }
    };
}

pub(super) use dialects;

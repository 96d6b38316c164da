//! The main job on real sockets and a real directory, the same tests in every setting: what a client
//! sees must not depend on buffers, budgets, or what the system offers.

mod concurrent;
mod content;
mod names;
mod server;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use filewharf::config::Limits;
use filewharf::object::Durability;
use filewharf::os::net::tls::make_self_signed;
use filewharf::os::process::unix_time;
use filewharf::server::Builder;

use support::client::{Running, limits};

/// One way to run the server.
pub struct Setting {
    shape: fn(Builder) -> Builder,
    /// Largest file that ends in seconds.
    pub largest: usize,
    /// Names in the directory that is listed.
    pub names: usize,
}

impl Setting {
    pub fn start(&self) -> Running {
        Running::with(self.shape)
    }
}

static DEFAULT: LazyLock<Setting> =
    LazyLock::new(|| Setting { shape: |builder| builder, largest: 20 << 20, names: 2500 });

static PORTABLE: LazyLock<Setting> =
    LazyLock::new(|| Setting { shape: |builder| builder.portable(true), largest: 20 << 20, names: 2500 });

static NOT_DURABLE: LazyLock<Setting> = LazyLock::new(|| Setting {
    shape: |builder| builder.durability(Durability::Written),
    largest: 20 << 20,
    names: 2500,
});

/// Every bound at its least: each byte is a turn of the loop, each chunk a round trip.
static TORTURE: LazyLock<Setting> =
    LazyLock::new(|| Setting { shape: |builder| builder.limits(torture()), largest: 5000, names: 30 });

/// The same on a platform where files can only be read into chunks.
static PORTABLE_TORTURE: LazyLock<Setting> =
    LazyLock::new(|| Setting { shape: |builder| builder.portable(true).limits(torture()), largest: 5000, names: 30 });

/// Encrypted.
static TLS: LazyLock<Setting> =
    LazyLock::new(|| Setting { shape: |builder| encrypted(builder), largest: 20 << 20, names: 2500 });

static TLS_UNDER_TORTURE: LazyLock<Setting> =
    LazyLock::new(|| Setting { shape: |builder| encrypted(builder).limits(torture()), largest: 5000, names: 30 });

fn encrypted(builder: Builder) -> Builder {
    with_identity(builder).listen_at("auto@127.0.0.1:0?tls".parse().expect("an address"))
}

/// With a certificate that is made once and used by all servers of these tests.
pub fn with_identity(builder: Builder) -> Builder {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("identity");
        make_self_signed(&dir, vec!["localhost".to_owned()], unix_time()).expect("a certificate");
        dir
    });
    builder.tls_self_signed(&*DIR)
}

fn torture() -> Limits {
    limits().with(|l| {
        l.fixed.slots = 1;
        l.fixed.chunk_bytes = 7;
        l.fixed.chunks_per_slot = 1;
        l.fixed.read_buffer_bytes = 1;
        l.fixed.reply_bytes_max = 1;
        l.fixed.turn_bytes = 1;
        l.fixed.turn_bytes_shared = 1;
        l.fixed.turn_bytes_min = 1;
        l.fixed.turn_bytes_max = 1;
        l.fixed.turn_calls = 1;
        l.fixed.accepts_per_turn = 1;
        l.fixed.dirty_bytes_max = 1;
        // Less than a window of one segment makes the sender wait for its own timers.
        l.fixed.send_buffer_bytes = 16 * 1024;
        l.fixed.recv_buffer_bytes = 16 * 1024;
        l.fixed.unsent_bytes_max = 1;
        l.fixed.io_workers = 1;
        l.fixed.sync_workers = 1;
    })
}

/// Runs each of these functions of the parent module in every setting.
macro_rules! in_every_setting {
    ($($test:ident),+ $(,)?) => {
        crate::served::in_every_setting!(@ by_default DEFAULT $($test)+);
        crate::served::in_every_setting!(@ portable PORTABLE $($test)+);
        crate::served::in_every_setting!(@ not_durable NOT_DURABLE $($test)+);
        crate::served::in_every_setting!(@ under_torture TORTURE $($test)+);
        crate::served::in_every_setting!(@ portable_under_torture PORTABLE_TORTURE $($test)+);
        crate::served::in_every_setting!(@ encrypted TLS $($test)+);
        crate::served::in_every_setting!(@ encrypted_under_torture TLS_UNDER_TORTURE $($test)+);
    };
    (@ $module:ident $setting:ident $($test:ident)+) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(&crate::served::$setting);
                }
            )+
        }
    };
}
use in_every_setting;

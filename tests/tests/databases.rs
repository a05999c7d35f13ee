//! Databases: servers that fork to save, files that several processes write at once.

use runsc_tests::{have, Script};

#[test]
fn redis_saves_in_the_background() {
    if have("redis-server") && have("redis-cli") {
        Script::sh(include_str!("../programs/redis.sh")).same();
    }
}

#[test]
fn sqlite_in_wal_mode_from_several_processes() {
    if have("sqlite3") && have("python3") {
        Script::sh(include_str!("../programs/sqlite.sh")).same();
    }
}

//! A host-side writer swaps a directory and a link to a hidden one while we open through it.

use std::time::{Duration, Instant};

pub unsafe fn attack(directory: &str) {
    let start = Instant::now();
    let mut tries = 0u32;
    while start.elapsed() < Duration::from_millis(1500) {
        if let Ok(text) = std::fs::read_to_string(format!("{directory}/swapped/key")) {
            if text.contains("host secret") {
                println!("ESCAPED: read {text:?}");
                return;
            }
        }
        tries += 1;
    }
    println!("tried: {}", tries > 10);
}

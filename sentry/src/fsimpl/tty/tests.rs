//! The line discipline's bounds, without a kernel around it; what it does is compared with Linux in the guest tests.

use super::line::{Line, INPUT_MAX, SHOWN_MAX};
use super::termios::{flag, Form, Termios};
use crate::mm::SliceSource;

fn type_in(line: &mut Line, keys: &[u8]) -> usize {
    let mut taken = 0;
    for key in keys {
        if !line.make_room() {
            break;
        }
        line.receive(*key);
        taken += 1;
    }
    line.show_echoes();
    taken
}

#[test]
fn an_endless_line_stays_within_its_buffer() {
    let mut line = Line::default();
    assert_eq!(type_in(&mut line, &vec![b'x'; 10 * INPUT_MAX]), 10 * INPUT_MAX);
    assert_eq!(line.readable(), 0);
    type_in(&mut line, b"\n");
    assert_eq!(line.take(1 << 20).map(|l| l.len()), Some(INPUT_MAX));
}

#[test]
fn whole_lines_that_nobody_reads_stop_the_typist() {
    let mut line = Line::default();
    assert_eq!(type_in(&mut line, &vec![b'\n'; 10 * INPUT_MAX]), INPUT_MAX - 1);
}

#[test]
fn echoes_that_nobody_reads_are_bounded() {
    let mut line = Line::default();
    for _ in 0..1000 {
        type_in(&mut line, &[b'\t'; 100]);
        line.flush_input();
    }
    assert!(line.shown.len() <= SHOWN_MAX + 8 && line.echo.len() <= INPUT_MAX);
}

#[test]
fn output_that_nobody_reads_is_bounded() {
    let mut line = Line::default();
    line.termios.oflag |= flag::XTABS;
    let tabs = vec![b'\t'; 1 << 20];
    while line.write(&mut SliceSource(&tabs)).is_ok() {}
    assert!(line.shown.len() <= SHOWN_MAX + 8 * 256);
}

#[test]
fn modes_survive_each_form() {
    let modes = Termios::default();
    for form in [Form::Termio, Form::Termios, Form::Termios2] {
        assert_eq!(modes.with(form, &modes.to_bytes(form)), modes, "{form:?}");
    }
}

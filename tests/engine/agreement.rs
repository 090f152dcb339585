//! `workflow simulate` held against an interpreter that others wrote.

use std::{path::Path, process::Command};

use crate::support::required;

#[test]
fn moto_ends_alike_where_it_follows_the_specification() {
    let Some(moto) = required("KEYFERRY_TEST_MOTO_URL", "moto") else { return };
    let Some(python) = required("KEYFERRY_TEST_PYTHON", "Python with boto3") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/agreement.py");
    let mut command = Command::new(python);
    command.arg(script).env("KEYFERRY", env!("CARGO_BIN_EXE_keyferry")).env("MOTO_URL", moto);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let count: u32 = out.split_whitespace().next().unwrap().parse().unwrap();
    assert!(count >= 120, "fewer comparisons than there were: {out}");
}

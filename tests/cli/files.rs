//! The data directory under a running server: a database that goes away, comes back as it was saved, and is backed up.

use std::{fs, path::Path, process::Stdio, time::Instant};

use super::{Server, ask, keyferry, listening, run, text};
use crate::support::patience::PATIENCE;

struct Serving {
    server: Server,
    address: String,
}

fn serve(data: &Path, more: &[&str]) -> Serving {
    let mut command = keyferry(&["serve", "--listen", "127.0.0.1:0", "--output", "json"]);
    command.arg("--data-dir").arg(data).args(more).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program runs");
    let address = listening(&mut child);
    Serving { server: Server(child), address }
}

impl Serving {
    fn enterprise(&self, data: &Path, arguments: &[&str]) -> std::process::Output {
        let (url, token) = (format!("http://{}", self.address), data.join("admin-token"));
        let mut command = keyferry(&["enterprise"]);
        command.args(arguments).args(["--url", &url, "--token-file"]).arg(token).output().expect("the program runs")
    }

    /// The status of `/readyz`.
    fn is_ready(&self) -> bool {
        let address = &self.address;
        let answer = ask(address, &format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
        answer.starts_with("HTTP/1.1 200")
    }
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn the_files_of_a_directory_that_others_may_enter_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let modes = |of: &str| {
        let entries = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry"));
        let files: Vec<_> = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(of)).collect();
        assert!(!files.is_empty(), "there is no {of}");
        files.into_iter().map(|entry| entry.metadata().expect("a file").permissions().mode() & 0o777).max()
    };
    drop(serve(folder.path(), &[]));
    assert_eq!([modes("keyferry.db"), modes("sandbox.db"), modes("admin-token")], [Some(0o600); 3]);
    fs::set_permissions(folder.path().join("keyferry.db"), fs::Permissions::from_mode(0o644)).expect("changed");
    drop(serve(folder.path(), &[]));
    assert_eq!(modes("keyferry.db"), Some(0o600), "one of before");
}

#[test]
fn a_database_that_is_deleted_under_a_server_is_not_acknowledged_into_and_comes_back_as_it_was_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup.db"));
    let mut first = serve(&data, &[]);
    let create = ["add", "dave", "--name", "Dave"];
    let created = first.enterprise(&data, &create);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let copied = run(&["backup", &backup.to_string_lossy(), "--data-dir", &data.to_string_lossy()]);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(text(&copied.stdout).contains("read through and on the disk"), "{}", text(&copied.stdout));
    assert!(first.is_ready());
    fs::remove_file(data.join("keyferry.db")).expect("deleted");
    let refused = first.enterprise(&data, &["add", "erin", "--name", "Erin"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    wait_until("readyz stays green", || !first.is_ready());
    assert!(!data.join("keyferry.db").exists(), "nothing makes a new one");
    let pid = first.server.0.id();
    let saved = format!("keyferry.db.saved-{pid}");
    wait_until("nothing was saved", || fs::metadata(data.join(&saved)).is_ok_and(|found| found.len() > 0));
    assert_eq!(first.server.terminate(), Some(0));
    // The log of another file.
    fs::copy(&backup, data.join("keyferry.db-wal")).expect("a file");
    let anew = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &data.to_string_lossy()]);
    assert_eq!(anew.status.code(), Some(1));
    let said = text(&anew.stderr);
    let cure = said.split("was saved: ").nth(1).and_then(|rest| rest.split(';').next()).expect("a cure");
    let carried_out = std::process::Command::new("sh").args(["-c", cure]).status().expect("a shell");
    assert!(carried_out.success(), "{cure}");
    let mut second = serve(&data, &[]);
    let shown = second.enterprise(&data, &["list"]);
    assert!(text(&shown.stdout).contains("dave") && !text(&shown.stdout).contains("erin"), "{}", text(&shown.stdout));
    assert_eq!(second.server.terminate(), Some(0));
    // Whoever means it begins anew; the backup takes its place again.
    fs::remove_file(data.join("keyferry.db")).expect("deleted");
    let mut empty = serve(&data, &["--new"]);
    assert!(!text(&empty.enterprise(&data, &["list"]).stdout).contains("dave"));
    assert_eq!(empty.server.terminate(), Some(0));
    fs::rename(&backup, data.join("keyferry.db")).expect("put back");
    let restored = serve(&data, &[]);
    let listed = restored.enterprise(&data, &["list"]);
    let files: Vec<_> = fs::read_dir(&data).expect("a folder").map(|file| file.expect("a file").file_name()).collect();
    assert!(text(&listed.stdout).contains("dave"), "{} {} {files:?}", text(&listed.stdout), text(&listed.stderr));
}

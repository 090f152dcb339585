//! A person's shell: printed commands are run as they are, by bash and the AWS CLI, against the sandbox.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::super::world::{CUSTOMER, World};
use crate::support::required;

/// In whose account a command is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Vendor,
    Customer,
}

/// A shell; the AWS CLI in it ends with the value.
pub struct Shell {
    cli: Child,
    folder: tempfile::TempDir,
}

impl Drop for Shell {
    fn drop(&mut self) {
        // A process that has ended already needs no killing.
        let _: std::io::Result<()> = self.cli.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.cli.wait();
    }
}

impl Shell {
    /// None where there is no AWS CLI, which is said.
    pub async fn open(world: &World) -> Option<Self> {
        let python = required("KEYFERRY_TEST_PYTHON", "AWS CLI")?;
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", door.local_addr().unwrap());
        tokio::spawn(world.sandbox.clone().listen(door, std::future::pending()));
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/steps/cures/aws.py");
        let text = format!("#!{python} -IS\n{}", std::fs::read_to_string(script).unwrap());
        for name in ["aws", "sleep"] {
            std::fs::write(bin.join(name), &text).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new(python);
        command.arg("-B").arg(bin.join("aws")).arg("--listen");
        command.env("AWS_ENDPOINT_URL", url).env("KEYFERRY_AWS_SOCKET", folder.path().join("socket"));
        let mut cli = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut said, mut heard) = (BufReader::new(cli.stdout.take().unwrap()).lines(), cli.stdin.take().unwrap());
        assert_eq!(said.next().unwrap().unwrap(), "ready");
        let clock = Arc::clone(&world.memory);
        // It ends when the process does.
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                let seconds: f64 = line.strip_prefix("sleep ").unwrap().parse().unwrap();
                // Whoever waits for a copy looks at it every now and then: fewer looks are as good, and cheaper.
                clock.pass(seconds.ceil() as i64 * 20);
                if heard.write_all(b"\n").is_err() {
                    return;
                }
            }
        });
        Some(Self { cli, folder })
    }

    /// Gives the lines to a shell, as they are.
    pub async fn give(&self, who: Who, lines: &[String]) {
        let script = lines.join("\n");
        let (account, name) = match who {
            Who::Vendor => ("127450652264", "operator"),
            Who::Customer => (CUSTOMER, "admin"),
        };
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(self.folder.path()).env("PATH", path);
        command.env("KEYFERRY_ROLE", format!("arn:aws:iam::{account}:role/{name}"));
        command.env("KEYFERRY_AWS_SOCKET", self.folder.path().join("socket"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{}\n{out}\n{err}", output.status);
    }
}

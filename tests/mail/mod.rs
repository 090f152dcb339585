//! Letters of the real program, to a mail server over a socket: across kills, and as its operators meet them.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use keyferry::worker::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::verbs::shell;
use crate::support::{
    import::{EAST, WEST},
    patience::looks,
    serving::{Serving, serve, serve_with},
};

#[derive(Default)]
struct Heard {
    /// Who is refused with 550.
    refused: HashSet<String>,
    /// Reader and Message-ID, in order.
    taken: Vec<(String, String)>,
    /// Reader and text, in order.
    texts: Vec<(String, String)>,
}

/// A mail server on a thread of its own.
#[derive(Clone, Default)]
struct Server {
    heard: Arc<Mutex<Heard>>,
}

impl Server {
    /// It serves as long as the test does; a configuration in `folder` names it.
    fn start(folder: &std::path::Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = format!("[mail]\nsmtp_host = \"127.0.0.1\"\nsmtp_port = {port}\n");
        std::fs::write(folder.join("keyferry.toml"), config).unwrap();
        let server = Self::default();
        let of_each = server.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let server = of_each.clone();
                std::thread::spawn(move || server.converse(&socket));
            }
        });
        server
    }

    fn converse(&self, socket: &TcpStream) -> Option<()> {
        let mut writer = socket.try_clone().ok()?;
        writer.write_all(b"220 ready\r\n").ok()?;
        let (mut reader, mut letter) = (String::new(), None::<String>);
        for line in BufReader::new(socket.try_clone().ok()?).lines() {
            let line = line.ok()?;
            let answer = if let Some(text) = letter.as_mut() {
                if line != "." {
                    text.push_str(&line);
                    text.push('\n');
                    continue;
                }
                let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().to_owned();
                // Long lines were broken for the way.
                let whole = text.replace("=\n", "").replace("=3D", "=");
                letter = None;
                let mut heard = self.heard.lock().unwrap();
                heard.taken.push((reader.clone(), id));
                heard.texts.push((reader.clone(), whole));
                "250 kept"
            } else if let Some(to) = line.strip_prefix("RCPT TO:<") {
                to.trim_end_matches('>').clone_into(&mut reader);
                let refused = self.heard.lock().unwrap().refused.contains(&reader);
                if refused { "550 no such mailbox" } else { "250 fine" }
            } else if line == "DATA" {
                letter = Some(String::new());
                "354 go on"
            } else {
                "250 fine"
            };
            writer.write_all(format!("{answer}\r\n").as_bytes()).ok()?;
        }
        None
    }

    fn refuse(&self, reader: &str) {
        self.heard.lock().unwrap().refused.insert(reader.to_owned());
    }

    fn taken_by(&self, reader: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.taken.iter().filter(|(to, _)| to == reader).map(|(_, id)| id.clone()).collect()
    }

    /// The commands of the newest letter to `reader` that says `what`, once there is one.
    async fn commands(&self, reader: &str, what: &str) -> Vec<String> {
        for _ in looks() {
            let texts = self.heard.lock().unwrap().texts.clone();
            if let Some((_, text)) = texts.iter().rev().find(|(to, text)| to == reader && text.contains(what)) {
                // The text comes before its HTML, which has the same commands.
                let lines = text.lines().map(str::trim).take_while(|line| !line.contains("text/html"));
                return lines.filter(|line| line.starts_with("keyferry ")).map(str::to_owned).collect();
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("{reader} gets no letter that says {what}: {:#?}", self.heard.lock().unwrap().texts);
    }

    async fn until_taken(&self, reader: &str, many: usize) -> Vec<String> {
        for _ in 0..2_400 {
            let taken = self.taken_by(reader);
            if taken.len() >= many {
                return taken;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("{reader} has {:?}, not {many}", self.taken_by(reader));
    }
}

const ENGINEER: &str = "eve@replicon.example";

/// An enterprise whose run asks its engineer for the regions.
async fn asking(server: &Serving) -> String {
    let new = json!({ "id": "dave", "customer_email": "old@dave.example", "engineer_email": ENGINEER });
    server.operator(Method::POST, "/enterprises", "engineer", &new).await;
    let start = json!({ "workflow": "customer-managed" });
    let run = server.operator(Method::POST, "/enterprises/dave/runs", "engineer", &start).await;
    run["id"].as_str().unwrap().to_owned()
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_after_the_delivery_sends_the_same_letter_again_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut first = serve(folder.path(), Some("letter::before"), &[]);
    asking(&first).await;
    server.until_taken(ENGINEER, 1).await;
    first.died().await;
    let second = serve(folder.path(), None, &[]);
    let taken = server.until_taken(ENGINEER, 2).await;
    assert_eq!(taken[0], taken[1], "the same Message-ID: its reader's mail program can tell");
    // What was kept is not sent a third time: the next letter to the same reader comes behind it.
    let run = second.operator(Method::GET, "/runs?enterprise=dave", "engineer", &Value::Null).await;
    let run = run["items"][0]["id"].as_str().unwrap().to_owned();
    let reason = json!({ "reason": "enough" });
    second.operator(Method::POST, &format!("/runs/{run}/cancel"), "engineer", &reason).await;
    let taken = server.until_taken(ENGINEER, 3).await;
    assert_ne!(taken[2], taken[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_listed_shown_with_its_run_told_and_sent_again_to_the_address_of_then() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.refuse("old@dave.example");
    let serving = serve_with(folder.path(), &[], &[]);
    let run = asking(&serving).await;
    let regions = json!({ "primary": WEST, "disaster_recovery": EAST, "aws_account": "123456789012" });
    serving.until(&run, |forms| forms.contains(&"regions".to_owned())).await;
    let visit = serving.run(&run).await["waiting_for"][0]["visit"].clone();
    let body = json!({ "visit": visit, "answer": regions });
    serving.operator(Method::POST, &format!("/runs/{run}/forms/regions"), "engineer", &body).await;
    // The question for the regions, and that the customer cannot be told.
    server.until_taken(ENGINEER, 2).await;
    let listed = serving.command(&["mail", "list", "--dead"]);
    let dead = listed["items"].as_array().unwrap();
    assert_eq!(dead.len(), 1, "{listed:#}");
    assert_eq!(
        (&dead[0]["reader"], &dead[0]["state"], &dead[0]["run"]),
        (&json!("customer"), &json!("dead"), &json!(run))
    );
    assert!(dead[0]["last_error"].as_str().unwrap().contains("no such mailbox"), "{listed:#}");
    assert_eq!(serving.command(&["run", "show", &run])["undelivered"], listed["items"]);
    let over_http = serving.operator(Method::GET, "/dead-letters", "engineer", &Value::Null).await;
    assert_eq!(over_http["items"], listed["items"]);
    let changed = serving.command(&["enterprise", "change", "dave", "--customer-email", "new@dave.example"]);
    assert_eq!(changed["version"], 2, "{changed:#}");
    let id = dead[0]["id"].to_string();
    assert_eq!(serving.command(&["mail", "resend", &id])["state"], "due");
    server.until_taken("new@dave.example", 1).await;
    assert_eq!(server.taken_by("old@dave.example"), [""; 0]);
    let shown = serving.command(&["enterprise", "show", "dave"]);
    assert_eq!(shown["changes"][0]["changes"][0]["to"], "new@dave.example", "{shown:#}");
    for _ in 0..2_400 {
        if serving.command(&["mail", "list"])["items"] == json!([]) {
            return;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("letters are left: {:#}", serving.command(&["mail", "list"]));
}

/// As they are printed, in a shell: the words that stand for a reason and a file are taken as they are, the one that stands for an
/// address is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_a_letter_is_run_as_it_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let server = Server::start(here);
    server.refuse("old@dave.example");
    let serving = serve_with(here, &[], &[]);
    let does = |line: &str| {
        let output = shell(&serving, here, &line.replace("ADDRESS", "new@dave.example"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output
    };
    // A form.
    let run = asking(&serving).await;
    let regions = json!({ "primary": WEST, "disaster_recovery": EAST, "aws_account": "123456789012" });
    std::fs::write(here.join("FILE"), regions.to_string()).unwrap();
    let asked = server.commands(ENGINEER, "waits for an answer").await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with(&format!("keyferry run answer {run} regions --at ")), "{asked:?}");
    does(&asked[0]);
    // A letter that cannot be delivered: the customer is asked for the keys at an address that is wrong.
    let dead = server.commands(ENGINEER, "could not be delivered").await;
    assert!(
        matches!(&dead[..], [change, resend] if change.contains("--customer-email") && resend.contains("mail resend")),
        "{dead:?}"
    );
    dead.iter().for_each(|line| drop(does(line)));
    server.until_taken("new@dave.example", 1).await;
    // A halt: each verb, for a run of its own.
    for (number, verb) in ["retry", "skip", "cancel"].into_iter().enumerate() {
        let broken = json!({ "workflow": "reimport", "input": { "regions": "nonsense" } });
        let start = serving.operator(Method::POST, "/enterprises/dave/runs", "engineer", &broken).await;
        let broken = start["id"].as_str().unwrap().to_owned();
        let halted = server.commands(ENGINEER, &format!("keyferry run retry {broken}")).await;
        assert_eq!(halted.len(), 3, "{halted:?}");
        assert!(halted[number].starts_with(&format!("keyferry run {verb} {broken} --at ")), "{halted:?}");
        does(&halted[number]);
        let history = serving.operator(Method::GET, &format!("/runs/{broken}/history"), "engineer", &Value::Null).await;
        let event = ["retried", "skipped", "cancelled"][number];
        assert!(history["items"].to_string().contains(&format!("\"{event}\"")), "{history:#}");
        if verb != "cancel" {
            drop(does(&format!("keyferry run cancel {broken} --at any --reason TEXT")));
        }
    }
    // What an outage's letter says.
    let shown = does(&format!("keyferry run show {run}"));
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&run));
}

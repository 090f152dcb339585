//! Letters against a mail server that refuses, stalls and hangs up, reader by reader.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::*;
use crate::{
    config::Mail,
    engine::Actor,
    store::{PostgresStore, SqliteStore, Store},
    worker::{
        CheckContext, Clock, Definitions, EnterpriseChange, Finding, FormBook, LetterView, ManualClock, NewEnterprise,
        Registry, ServiceOptions, StartRun,
    },
};

const CUSTOMER: &str = "security@dave.example";
const CSM: &str = "carol@replicon.example";
const ENGINEER: &str = "eve@replicon.example";

/// How the server answers a reader.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    /// This reply to RCPT.
    Says(&'static str),
    /// This reply to the final dot.
    SaysLater(&'static str),
    /// Nothing, ever, after RCPT.
    Stalls,
    /// It takes the letter and hangs up instead of saying so.
    HangsUp,
    Takes,
}

#[derive(Default)]
struct Heard {
    moods: HashMap<String, Mood>,
    /// Instead of a greeting.
    greeting: Option<&'static str>,
    /// Reader and Message-ID of every letter that came whole, in order.
    taken: Vec<(String, String)>,
    /// How often a reader was named.
    asked: HashMap<String, usize>,
}

/// A mail server for as many conversations as there are.
#[derive(Clone)]
struct Server {
    heard: Arc<Mutex<Heard>>,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { heard: Arc::default(), port: listener.local_addr().unwrap().port() };
        let of_each = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = of_each.clone();
                tokio::spawn(async move { server.converse(socket).await });
            }
        });
        server
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    fn mood(&self, reader: &str, mood: Mood) {
        self.heard().moods.insert(reader.to_owned(), mood);
    }

    fn taken_by(&self, reader: &str) -> Vec<String> {
        self.heard().taken.iter().filter(|(to, _)| to == reader).map(|(_, id)| id.clone()).collect()
    }

    fn asked(&self, reader: &str) -> usize {
        self.heard().asked.get(reader).copied().unwrap_or_default()
    }

    async fn converse(&self, socket: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(socket);
        let greeting = self.heard().greeting.unwrap_or("220 ready");
        stream.write_all(format!("{greeting}\r\n").as_bytes()).await.ok()?;
        let (mut line, mut reader, mut letter) = (String::new(), String::new(), None::<String>);
        loop {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let said = line.trim_end();
            let mood = || self.heard().moods.get(&reader).copied().unwrap_or(Mood::Takes);
            let answer = if let Some(text) = letter.as_mut() {
                if said != "." {
                    text.push_str(&line);
                    continue;
                }
                let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().to_owned();
                letter = None;
                match mood() {
                    Mood::SaysLater(reply) => reply,
                    mood => {
                        self.heard().taken.push((reader.clone(), id));
                        if mood == Mood::HangsUp {
                            return None;
                        }
                        "250 kept"
                    }
                }
            } else if let Some(rest) = said.strip_prefix("RCPT TO:<") {
                reader = rest.trim_end_matches('>').to_owned();
                *self.heard().asked.entry(reader.clone()).or_default() += 1;
                let mood = self.heard().moods.get(&reader).copied();
                match mood {
                    Some(Mood::Says(reply)) => reply,
                    Some(Mood::Stalls) => std::future::pending().await,
                    Some(Mood::SaysLater(_) | Mood::HangsUp | Mood::Takes) | None => "250 fine",
                }
            } else if said == "DATA" {
                letter = Some(String::new());
                "354 go on"
            } else if said == "QUIT" {
                "221 bye"
            } else {
                "250 fine"
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        }
    }
}

struct AskForm;

impl FormBook for AskForm {
    fn role(&self, form: &str) -> Option<String> {
        (form == "ask").then(|| "customer".to_owned())
    }

    fn check(&self, _form: &str, answer: &Value, _context: CheckContext<'_>) -> Result<Value, Vec<Finding>> {
        Ok(answer.clone())
    }
}

/// A clock that counts who has gone to sleep by it.
#[derive(Clone)]
struct Counting(ManualClock, Arc<AtomicUsize>);

#[async_trait]
impl Clock for Counting {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    fn new_id(&self) -> String {
        self.0.new_id()
    }

    fn chance(&self) -> u64 {
        self.0.chance()
    }

    async fn sleep(&self, duration: Duration) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sleep(duration).await;
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sleep_until(time).await;
    }
}

struct Post {
    service: Service,
    postman: Postman,
    clock: ManualClock,
    slept: Arc<AtomicUsize>,
    server: Server,
    _folder: tempfile::TempDir,
}

fn engineer() -> Actor {
    Actor { name: "eve".to_owned(), role: "engineer".to_owned() }
}

impl Post {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap();
        Self::over(Arc::new(store), folder).await
    }

    async fn over(store: Arc<dyn Store>, folder: tempfile::TempDir) -> Self {
        let server = Server::start().await;
        let mail = Mail { smtp_host: Some("127.0.0.1".to_owned()), smtp_port: server.port, ..Config::default().mail };
        let config = Arc::new(Config { mail, ..Config::default() });
        let clock = ManualClock::new(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        let slept = Arc::<AtomicUsize>::default();
        let mut definitions = Definitions::new();
        let ask = r#"{"StartAt":"Ask","States":{"Ask":{"Type":"Task","Resource":"urn:keyferry:form:ask","End":true}}}"#;
        definitions.add("ask", ask).unwrap();
        let service = Service::open(ServiceOptions {
            store,
            definitions,
            steps: Registry::new(),
            forms: Arc::new(AskForm),
            clock: Arc::new(Counting(clock.clone(), Arc::clone(&slept))),
            config: Arc::clone(&config),
            poll: None,
        })
        .await
        .unwrap();
        let dave = NewEnterprise {
            id: "dave".to_owned(),
            name: "Dave".to_owned(),
            partition: "aws".to_owned(),
            customer_email: Some(CUSTOMER.to_owned()),
            csm_email: Some(CSM.to_owned()),
            engineer_email: Some(ENGINEER.to_owned()),
            ..NewEnterprise::default()
        };
        service.add_enterprise(dave).await.unwrap();
        let transport = Transport::new(&config.mail, folder.path()).unwrap();
        let form = FormRole { role: "customer".to_owned(), title: "Ask".to_owned() };
        let now = clock.clone();
        let forms = BTreeMap::from([("ask".to_owned(), form)]);
        let postman = Postman::new(service.clone(), transport, config, forms, Arc::new(move || now.now()));
        Self { service, postman, clock, slept, server, _folder: folder }
    }

    async fn start(&self) -> String {
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: "ask".to_owned(),
            input: json!({}),
            actor: engineer(),
            idempotency_key: None,
        };
        self.service.start_run(asked).await.unwrap().id
    }

    /// A run that is cancelled before anybody was told of it: its end is told to CSM and engineer.
    async fn cancelled(&self) -> String {
        let run = self.start().await;
        self.service.cancel(&run, engineer(), "wrong regions").await.unwrap();
        run
    }

    /// Lets `minutes` pass, with a look each minute at what is due.
    async fn pass(&self, minutes: u64) {
        for _ in 0..minutes {
            self.clock.advance(Duration::from_secs(60));
            self.postman.deliver_due().await.unwrap();
        }
    }

    async fn letters(&self, state: LetterState) -> Vec<LetterView> {
        self.service.letters(state, None, 200, None).await.unwrap().items
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_reader_neither_silences_nor_repeats_the_others() {
    for refused in [Mood::Says("550 no such mailbox"), Mood::SaysLater("554 looks like spam")] {
        let post = Post::open().await;
        post.server.mood(CSM, refused);
        let run = post.cancelled().await;
        post.postman.deliver_due().await.unwrap();
        post.pass(600).await;
        // The end of the run, and that the CSM could not be told.
        assert_eq!(post.server.taken_by(ENGINEER).len(), 2, "{refused:?}");
        assert_eq!(post.server.asked(CSM), 1, "a refusal is not asked for again");
        let dead = post.letters(LetterState::Dead).await;
        assert_eq!(dead.len(), 1, "{dead:?}");
        assert_eq!((dead[0].reader.as_str(), dead[0].address.as_deref()), ("csm", Some(CSM)));
        assert!(dead[0].last_error.as_ref().unwrap().contains(if refused == Mood::Says("550 no such mailbox") {
            "no such mailbox"
        } else {
            "looks like spam"
        }));
        assert_eq!(post.service.run_with_letters(&run).await.unwrap().undelivered, dead);
        assert_eq!(post.letters(LetterState::Due).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_engineer_is_told_of_nothing_and_the_csm_hears_once() {
    let post = Post::open().await;
    post.server.mood(ENGINEER, Mood::Says("550 no such mailbox"));
    post.cancelled().await;
    post.postman.deliver_due().await.unwrap();
    post.pass(600).await;
    assert_eq!(post.server.taken_by(CSM).len(), 1, "the same letter does not come again and again");
    assert_eq!(post.server.asked(ENGINEER), 1, "a letter about a letter to oneself is none");
    assert_eq!(post.letters(LetterState::Dead).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_further_and_further_apart_and_not_for_ever() {
    let post = Post::open().await;
    post.server.mood(CSM, Mood::Says("451 greylisted, come again"));
    let run = post.cancelled().await;
    post.postman.deliver_due().await.unwrap();
    assert_eq!(post.server.taken_by(ENGINEER).len(), 1);
    let due = post.letters(LetterState::Due).await;
    assert_eq!((due.len(), due[0].attempts, due[0].reader.as_str()), (1, 1, "csm"));
    assert!(due[0].next_attempt.unwrap() > due[0].failing_since.unwrap());
    assert_eq!(post.service.run_with_letters(&run).await.unwrap().undelivered, due, "the run names it while it fails");
    // Four days, and an hour for the last attempt.
    for _ in 0..4 * 24 * 6 + 6 {
        post.clock.advance(Duration::from_secs(600));
        post.postman.deliver_due().await.unwrap();
    }
    let dead = post.letters(LetterState::Dead).await;
    assert_eq!((dead.len(), post.letters(LetterState::Due).await.len()), (1, 0));
    let asked = post.server.asked(CSM);
    assert!((90..120).contains(&asked), "{asked} attempts in four days");
    assert_eq!(post.server.taken_by(ENGINEER).len(), 2, "and the engineer was told once that it is dead");
    // Resent it goes to the address of now, with all its attempts anew, under the same Message-ID.
    let change = EnterpriseChange { csm_email: Some(Some("cleo@replicon.example".to_owned())), ..Default::default() };
    post.service.change_enterprise("dave", None, change, engineer()).await.unwrap();
    let resent = post.service.resend_letter(dead[0].id, engineer()).await.unwrap();
    assert_eq!((resent.state, resent.attempts, resent.failing_since), (LetterState::Due, 0, None));
    post.postman.deliver_due().await.unwrap();
    assert_eq!(post.server.taken_by("cleo@replicon.example").len(), 1);
    assert_eq!(post.letters(LetterState::Dead).await, []);
    let again = post.service.resend_letter(dead[0].id, engineer()).await.unwrap_err();
    assert_eq!(again.code, "letter-not-waiting", "what was sent is not sent again");
    assert_eq!(post.service.resend_letter(9_999, engineer()).await.unwrap_err().code, "letter-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greylisted_letter_arrives_and_a_server_that_refuses_everybody_kills_no_letter() {
    let post = Post::open().await;
    post.server.heard().greeting = Some("554 no service here");
    post.cancelled().await;
    post.postman.deliver_due().await.unwrap();
    assert_eq!(
        post.letters(LetterState::Due).await.len(),
        2,
        "what is said before a reader is named is about no reader"
    );
    post.server.heard().greeting = None;
    post.server.mood(CSM, Mood::Says("451 greylisted"));
    post.pass(1).await;
    assert_eq!((post.server.taken_by(ENGINEER).len(), post.server.taken_by(CSM).len()), (1, 0));
    post.server.mood(CSM, Mood::Takes);
    post.pass(5).await;
    assert_eq!((post.server.taken_by(ENGINEER).len(), post.server.taken_by(CSM).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_server_says_nothing_keeps_nobody_waiting() {
    let post = Post::open().await;
    post.server.mood(CSM, Mood::Stalls);
    // More runs than letters are delivered at once: all that wait for the CSM would fill every place.
    for _ in 0..2 * AT_ONCE {
        post.cancelled().await;
    }
    let (_stop, stopped) = watch::channel(false);
    let delivering = tokio::spawn({
        let office = Arc::clone(&post.postman.office);
        async move { Postman { office }.run(stopped).await }
    });
    let all = async {
        while post.server.taken_by(ENGINEER).len() < 2 * AT_ONCE {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), all).await.expect("the engineer waits for the CSM's server");
    assert_eq!(post.server.asked(CSM), 1, "one letter of a reader at a time");
    delivering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_after_the_dot_means_the_same_letter_again() {
    let post = Post::open().await;
    post.server.mood(CSM, Mood::HangsUp);
    post.cancelled().await;
    post.postman.deliver_due().await.unwrap();
    let due = post.letters(LetterState::Due).await;
    assert!(due[0].last_error.as_ref().unwrap().contains("same Message-ID"), "{due:?}");
    post.server.mood(CSM, Mood::Takes);
    post.pass(5).await;
    let taken = post.server.taken_by(CSM);
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0], taken[1], "so that its reader's mail program can tell");
    assert_eq!(post.letters(LetterState::Due).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_withdraws_what_it_asks_and_tells_of_its_end() {
    // Not even made into letters; tried in vain; given up.
    for (mood, left) in [(None, 0), (Some("451 later"), 1), (Some("550 no such mailbox"), 1)] {
        let post = Post::open().await;
        let run = post.start().await;
        if let Some(reply) = mood {
            post.server.mood(CUSTOMER, Mood::Says(reply));
            post.postman.deliver_due().await.unwrap();
            let open = [post.letters(LetterState::Due).await, post.letters(LetterState::Dead).await].concat();
            assert_eq!(open.iter().filter(|letter| letter.reader == "customer").count(), left, "{open:?}");
        }
        post.service.cancel(&run, engineer(), "wrong regions").await.unwrap();
        let family = post.service.undelivered(&[run]).await.unwrap();
        assert_eq!(family, [], "the commit of the cancel withdraws it");
        post.server.mood(CUSTOMER, Mood::Takes);
        post.postman.deliver_due().await.unwrap();
        post.pass(120).await;
        assert_eq!(post.server.taken_by(CUSTOMER), [""; 0], "nobody is asked for what is not wanted");
        assert_eq!(post.server.taken_by(CSM).len(), 1, "the cancel itself is told");
        assert!(!post.server.taken_by(ENGINEER).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_meanwhile_is_not_asked_for_again() {
    let post = Post::open().await;
    let run = post.start().await;
    post.server.mood(CUSTOMER, Mood::Says("451 later"));
    post.postman.deliver_due().await.unwrap();
    let visit = post.service.open_form(&run, "ask").await.unwrap().visit;
    let customer = Actor { name: "dora".to_owned(), role: "customer".to_owned() };
    post.service.answer(&run, "ask", &visit, json!({}), customer).await.unwrap();
    post.server.mood(CUSTOMER, Mood::Takes);
    post.pass(5).await;
    let taken = post.server.taken_by(CUSTOMER);
    assert_eq!(taken.len(), 1, "the run's end, and not the question: {taken:?}");
    assert_eq!(post.letters(LetterState::Due).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_the_same_on_postgres() {
    let Some(database) = crate::store::postgres::tests::Database::make().await else { return };
    let store = PostgresStore::open(database.url()).await.unwrap();
    let post = Post::over(Arc::new(store), tempfile::tempdir().unwrap()).await;
    post.server.mood(CSM, Mood::Says("550 no such mailbox"));
    post.cancelled().await;
    post.postman.deliver_due().await.unwrap();
    post.pass(5).await;
    assert_eq!((post.server.taken_by(ENGINEER).len(), post.server.asked(CSM)), (2, 1));
    let dead = post.letters(LetterState::Dead).await;
    post.server.mood(CSM, Mood::Takes);
    post.service.resend_letter(dead[0].id, engineer()).await.unwrap();
    post.postman.deliver_due().await.unwrap();
    assert_eq!(post.server.taken_by(CSM).len(), 1);
    assert_eq!(post.letters(LetterState::Dead).await, []);
}

/// A process that has died is noticed by the lease on the letter, which it renewed while it lived, however long the server took.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_held_as_long_as_it_is_sent_and_taken_over_from_a_process_that_has_died() {
    is_taken_over(Post::open().await).await;
    let Some(database) = crate::store::postgres::tests::Database::make().await else { return };
    let store = PostgresStore::open(database.url()).await.unwrap();
    is_taken_over(Post::over(Arc::new(store), tempfile::tempdir().unwrap()).await).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waits = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), waits)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come about"));
}

async fn is_taken_over(post: Post) {
    post.server.mood(CSM, Mood::Stalls);
    post.cancelled().await;
    let (_stop, stopped) = watch::channel(false);
    let office = Arc::clone(&post.postman.office);
    let process = tokio::spawn(async move { Postman { office }.run(stopped).await });
    until("the conversation", || post.server.asked(CSM) == 1 && post.server.taken_by(ENGINEER).len() == 1).await;
    // The engineer's letter is held until it is written down that the server has taken it.
    while post.letters(LetterState::Due).await.len() != 1 {
        tokio::task::yield_now().await;
    }
    // Longer than the lease, which is 60 s.
    for _ in 0..12 {
        let before = post.slept.load(Ordering::SeqCst);
        post.clock.advance(Duration::from_secs(20));
        until("the renewal", || post.slept.load(Ordering::SeqCst) > before).await;
    }
    assert_eq!(post.service.hold_letters(9).await.unwrap(), [], "it is being sent");
    process.abort();
    assert!(process.await.unwrap_err().is_cancelled());
    post.server.mood(CSM, Mood::Takes);
    post.postman.deliver_due().await.unwrap();
    assert_eq!(post.server.asked(CSM), 1, "its lease has not passed");
    post.pass(1).await;
    assert_eq!(post.server.taken_by(CSM).len(), 1);
    assert_eq!((post.letters(LetterState::Due).await, post.letters(LetterState::Dead).await), (Vec::new(), Vec::new()));
}

#[test]
fn attempts_are_spaced_further_and_further_up_to_an_hour() {
    let seconds: Vec<i64> = [1, 2, 3, 9, 10, 11, u32::MAX].into_iter().map(|n| retry_after(n).num_seconds()).collect();
    assert_eq!(seconds, [5, 10, 20, 1280, 2560, 3600, 3600]);
}

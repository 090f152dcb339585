//! What a person has seen when they act on a run: said with `--at`, or shown and asked for on a terminal.

use std::io::{self, BufRead, IsTerminal as _};

use super::text;
use crate::{
    cli::{
        client::Client,
        output::{Failure, say},
    },
    shell::quoted,
    worker::{RunView, Visit},
};

/// A place of the run that a verb may be about.
struct Place {
    /// What `--at` takes.
    at: String,
    what: String,
}

/// A verb on a run, as it was typed, without `--at`.
pub struct Typed {
    pub verb: &'static str,
    pub run: String,
    /// What comes behind the run: each word as it is, quoted where it must be.
    pub rest: Vec<String>,
    /// Whether standard input holds something else.
    pub reads_input: bool,
}

impl Typed {
    fn command(&self, at: &str) -> String {
        let mut words = vec!["keyferry".to_owned(), "run".to_owned(), self.verb.to_owned(), quoted(&self.run)];
        words.extend(self.rest.iter().map(|word| quoted(word)));
        words.extend(["--at".to_owned(), at.to_owned()]);
        words.join(" ")
    }
}

/// The visit that was typed.
///
/// # Errors
/// It is none.
pub fn visit(at: &str) -> Result<Visit, Failure> {
    at.parse().map_err(|no| Failure::Usage(format!("--at: {no}")))
}

/// The revision that was typed; `None` for `any`.
///
/// # Errors
/// It is none.
pub fn revision(at: &str) -> Result<Option<u64>, Failure> {
    if at == "any" {
        return Ok(None);
    }
    let wrong =
        |_| Failure::Usage(format!("--at: `{at}` is not a revision as `keyferry run show` prints it, nor `any`"));
    at.parse().map(Some).map_err(wrong)
}

/// Shows what the verb would be about and asks; without a terminal says what to type.
///
/// # Errors
/// There is nothing that the verb is for; nobody can be asked; the person does not want it.
pub async fn ask(client: &Client, typed: &Typed, form: Option<&str>) -> Result<String, Failure> {
    let run: RunView = client.get(&["runs", &typed.run], &[]).await?;
    let places = places(&run, typed.verb, form);
    let can_ask = !typed.reads_input && io::stdin().is_terminal() && io::stderr().is_terminal();
    let shown = |text: &str| say(text);
    decide(&run, typed, places, can_ask, &mut io::stdin().lock(), shown)
}

fn decide(
    run: &RunView,
    typed: &Typed,
    mut places: Vec<Place>,
    can_ask: bool,
    input: &mut impl BufRead,
    shown: impl Fn(&str),
) -> Result<String, Failure> {
    if places.is_empty() {
        return Err(Failure::Failed(format!(
            "there is nothing to {} in run {}: it {}",
            typed.verb, run.id, run.summary
        )));
    }
    if !can_ask || places.len() > 1 {
        let lines: Vec<String> =
            places.iter().map(|place| format!("\n  {}\n    {}", place.what, typed.command(&place.at))).collect();
        let why = if can_ask { "there is more than one place" } else { "there is no terminal to ask at" };
        return Err(Failure::Usage(format!("--at: say what you have seen, since {why}:{}", lines.concat())));
    }
    let place = places.swap_remove(0);
    shown(&text::run(run));
    shown(&format!("{} {}? Type yes to do it:", typed.verb, place.what));
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.map_err(|error| Failure::Failed(format!("cannot read the answer: {error}")))?;
    if answer.trim() == "yes" { Ok(place.at) } else { Err(Failure::Failed("nothing was done".to_owned())) }
}

fn places(run: &RunView, verb: &str, form: Option<&str>) -> Vec<Place> {
    match (verb, form) {
        (_, Some(form)) => {
            let open = run.waiting_for.iter().filter(|wait| wait.form.as_deref() == Some(form));
            open.map(|wait| Place { at: wait.visit.to_string(), what: format!("the form {form} of {}", wait.state) })
                .collect()
        }
        ("retry" | "skip", None) => run
            .attention
            .iter()
            .map(|at| Place { at: at.visit.to_string(), what: format!("{} ({}: {})", at.state, at.error, at.cause) })
            .collect(),
        (_, None) if run.ended_at.is_some() => Vec::new(),
        (_, None) => vec![Place {
            at: run.revision.to_string(),
            what: format!("run {} at revision {}, which {}", run.id, run.revision, run.summary),
        }],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(attention: &[u64]) -> RunView {
        let attention: Vec<_> = attention
            .iter()
            .map(|frame| {
                json!({
                    "run": "r-1", "frame": frame, "visit": Visit::of("r-1", *frame, 5), "state": format!("S{frame}"),
                    "error": "E", "cause": "why", "since": "2026-03-02T10:00:00Z",
                })
            })
            .collect();
        serde_json::from_value(json!({
            "id": "r-1", "enterprise": "dave", "workflow": "w", "definition": "0", "status": "attention", "parent": null,
            "children": [], "revision": 17, "started_at": "2026-03-02T10:00:00Z",
            "started_by": {"name": "admin", "role": "engineer"}, "ended_at": null, "summary": "needs an engineer",
            "working_in": [], "waiting_for": [], "attention": attention, "output": null, "error": null, "cause": null,
        }))
        .expect("a run")
    }

    fn typed(verb: &'static str) -> Typed {
        let rest = ["--reason", "it's raised"].map(str::to_owned).to_vec();
        Typed { verb, run: "r-1".to_owned(), rest, reads_input: false }
    }

    fn asked(verb: &'static str, run: &RunView, can_ask: bool, answer: &str) -> (Result<String, Failure>, String) {
        let said = std::cell::RefCell::new(String::new());
        let shown = |text: &str| said.borrow_mut().push_str(text);
        let decided = decide(run, &typed(verb), places(run, verb, None), can_ask, &mut answer.as_bytes(), shown);
        (decided, said.into_inner())
    }

    #[test]
    fn a_person_at_a_terminal_is_shown_the_state_and_asked() {
        let run = run(&[2]);
        let (decided, said) = asked("skip", &run, true, "yes\n");
        assert_eq!(decided.expect("done"), Visit::of("r-1", 2, 5).to_string());
        assert!(said.contains("needs an engineer") && said.contains("skip S2 (E: why)?"), "{said}");
        assert_eq!(asked("cancel", &run, true, "yes\n").0.expect("done"), "17");
        for no in ["", "\n", "y\n", "no\n"] {
            assert!(matches!(asked("skip", &run, true, no).0, Err(Failure::Failed(why)) if why == "nothing was done"));
        }
    }

    #[test]
    fn without_a_terminal_the_command_to_type_is_said() {
        let (decided, said) = asked("skip", &run(&[2]), false, "yes\n");
        let Err(Failure::Usage(why)) = decided else { panic!("{decided:?}") };
        let command = format!(r"keyferry run skip r-1 --reason 'it'\''s raised' --at {}", Visit::of("r-1", 2, 5));
        assert!(why.contains(&command), "{why}");
        assert_eq!(said, "");
    }

    #[test]
    fn of_several_places_none_is_chosen_and_none_is_said() {
        let Err(Failure::Usage(why)) = asked("retry", &run(&[2, 3]), true, "yes\n").0 else { panic!("one was chosen") };
        for frame in [2, 3] {
            assert!(why.contains(&format!("--at {}", Visit::of("r-1", frame, 5))), "{why}");
        }
        let Err(Failure::Failed(why)) = asked("retry", &run(&[]), true, "yes\n").0 else { panic!("nothing is there") };
        assert!(why.contains("nothing to retry") && why.contains("needs an engineer"), "{why}");
    }

    #[test]
    fn what_is_typed_is_read_strictly() {
        assert_eq!((revision("17").expect("a revision"), revision("any").expect("any")), (Some(17), None));
        assert!(matches!(revision("seventeen"), Err(Failure::Usage(_))));
        assert!(matches!(visit("17"), Err(Failure::Usage(_))));
    }
}

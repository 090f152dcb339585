//! Log lines as JSON: one object a line, with the fields of the spans around the line beside its own, so that a search for a
//! run's identifier finds every line that was written for it, those of libraries included.

use std::{fmt::Debug, io::Write as _};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

/// Writes each event as a line.
pub(super) struct Lines<W> {
    to: W,
}

/// A span's fields, kept beside it.
struct Fields(Map<String, Value>);

impl<W> Lines<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Map::new();
        attributes.record(&mut Members(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Fields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(Fields(fields)) = span.extensions_mut().get_mut() {
            values.record(&mut Members(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        let mut timestamp = String::new();
        // Writing into a String does not fail.
        let _: std::fmt::Result = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        line.insert("timestamp".to_owned(), timestamp.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(Fields(fields)) = span.extensions().get() {
                line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        // The event's own come last: what it says of itself is truer than what is said around it.
        event.record(&mut Members(&mut line));
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // There is nobody to tell that standard error is gone. In one call, so that lines of threads do not mix.
        let _ = self.to.make_writer_for(event.metadata()).write_all(text.as_bytes());
    }
}

struct Members<'a>(&'a mut Map<String, Value>);

impl Members<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let to = kept.clone();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Lines::new(move || to.clone())), log);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_fields_of_the_spans_around_it() {
        let lines = lines(|| {
            tracing::warn!("before");
            let run = tracing::info_span!("run", run.id = "r1", enterprise = tracing::field::Empty);
            run.record("enterprise", "dave");
            let _run = run.enter();
            let _step = tracing::info_span!("step", step.name = %"copy-snapshot", step.attempt = 2).entered();
            tracing::info!(region = "us-east-1", "a \"line\"\nof two");
            tracing::info!(run.id = "r2", ok = true, "another run");
        });
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["level"], lines[0].get("run.id")), (&Value::from("WARN"), None));
        let line = &lines[1];
        assert_eq!((&line["run.id"], &line["enterprise"]), (&Value::from("r1"), &Value::from("dave")));
        assert_eq!((&line["step.name"], &line["step.attempt"]), (&Value::from("copy-snapshot"), &Value::from(2)));
        assert_eq!(
            (&line["region"], &line["message"]),
            (&Value::from("us-east-1"), &Value::from("a \"line\"\nof two"))
        );
        assert!(line["timestamp"].as_str().unwrap().starts_with("20"), "{line}");
        assert_eq!((&lines[2]["run.id"], &lines[2]["ok"]), (&Value::from("r2"), &Value::from(true)));
    }
}

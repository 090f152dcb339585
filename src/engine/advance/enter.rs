//! What a state does when a frame comes to it, or comes to it again.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Rejected, draft::Draft, finish::within_limit};
use crate::engine::{
    Command, FrameId, Join, Notice, Outcome, Payload, Phase,
    definition::{Amount, Choice, Kind, MapState, Resource, Selection, State, Text, Until},
    language::{Expression, Failure, Path, ReferencePath, Scope, Template},
};

impl Draft<'_> {
    /// Lets a frame do what its state says, with its present input: the first time, or as a new try.
    pub fn begin(&mut self, id: FrameId) {
        let Some(frame) = self.frame_mut(id) else { return };
        frame.visit = frame.visit.saturating_add(1);
        let name = frame.state.clone();
        let Some(state) = self.definition.state(&name) else {
            self.attend(id, "States.Runtime", &format!("the definition has no state `{name}`"));
            return;
        };
        if let Err(failure) = self.perform(id, state) {
            self.fail(id, &failure.error, &failure.cause);
        }
    }

    fn perform(&mut self, id: FrameId, state: &State) -> Result<(), Failure> {
        let raw = self.frame(id).map(|frame| frame.input.clone()).unwrap_or_else(|| Payload::from(Value::Null));
        let selected = self.select(id, &state.input_path, &raw)?;
        match &state.kind {
            Kind::Task { resource, timeout, heartbeat, .. } => {
                let timeout = self.seconds(id, timeout.as_ref(), &selected)?;
                let heartbeat = self.seconds(id, heartbeat.as_ref(), &selected)?;
                if let (Some(heartbeat), Some(timeout)) = (heartbeat, timeout)
                    && heartbeat >= timeout
                {
                    let cause = format!("a heartbeat of {heartbeat} s must be smaller than the timeout of {timeout} s");
                    return Err(Failure::new("States.Runtime", cause));
                }
                let input = self.shape(id, state, selected)?;
                self.call(id, resource, input, timeout, heartbeat)
            }
            Kind::Pass { result, .. } => {
                let input = self.shape(id, state, selected)?;
                let result = result.clone().map_or(input, Payload::from);
                self.complete(id, state, result)
            }
            Kind::Wait { until, .. } => {
                let until = self.wait_until(id, until, &selected)?;
                if until <= self.at {
                    return self.complete(id, state, selected);
                }
                self.set_phase(id, Phase::Waiting { until });
                self.set_timer(id, until);
                Ok(())
            }
            Kind::Choice { choices, default } => self.choose(id, state, choices, default.as_deref(), &selected),
            Kind::Parallel { branches, .. } => {
                let input = self.shape(id, state, selected)?;
                let first = self.open_frames(Some(id), vec![input.clone(); branches.len()], None)?;
                let total = u64::try_from(branches.len()).unwrap_or(u64::MAX);
                self.set_phase(id, Phase::Joining(Join { first, total, started: total, succeeded: 0, failed: 0 }));
                for (index, branch) in (0_u64..).zip(branches) {
                    self.start_machine(first.saturating_add(index), *branch, input.clone());
                }
                Ok(())
            }
            Kind::Map(map) => self.open_map(id, state, map, &selected),
            Kind::Succeed => {
                let output = self.select(id, &state.output_path, &selected)?;
                self.end_frame(id, output);
                Ok(())
            }
            Kind::Fail { error, cause } => {
                let error = self.text(id, error.as_ref(), &raw)?.unwrap_or_default();
                let cause = self.text(id, cause.as_ref(), &raw)?.unwrap_or_default();
                self.fail_by_state(id, &error, &cause);
                Ok(())
            }
        }
    }

    /// Lets a frame's machine start.
    pub fn start_machine(&mut self, id: FrameId, machine: usize, input: Payload) {
        let start = self.definition.machines.get(machine).map(|machine| machine.start_at.clone()).unwrap_or_default();
        self.enter(id, start, input);
    }

    fn call(
        &mut self,
        id: FrameId,
        resource: &Resource,
        input: Payload,
        timeout: Option<u64>,
        heartbeat: Option<u64>,
    ) -> Result<(), Failure> {
        let visit = self.frame(id).map(|frame| frame.visit).unwrap_or_default();
        let until = timeout.and_then(|seconds| self.later(seconds));
        match resource {
            Resource::Step(_) | Resource::Other(_) => {
                let step = match resource {
                    Resource::Step(name) => name.clone(),
                    Resource::Form(_) | Resource::Workflow(_) | Resource::Other(_) => resource.uri(),
                };
                let due_at = self.at;
                self.set_phase(id, Phase::Step { step: step.clone(), due_at });
                self.commands.push(Command::RunStep {
                    frame: id,
                    visit,
                    step,
                    input,
                    due_at,
                    timeout_s: timeout,
                    heartbeat_s: heartbeat,
                });
            }
            Resource::Form(form) => {
                let state = self.frame(id).map(|frame| frame.state.clone()).unwrap_or_default();
                self.set_phase(id, Phase::Form { form: form.clone(), until });
                self.commands.push(Command::OpenForm {
                    frame: id,
                    visit,
                    form: form.clone(),
                    input: input.clone(),
                    until,
                });
                self.commands.push(Command::Tell {
                    notice: Notice::FormOpened { frame: id, visit, state, form: form.clone(), input },
                });
            }
            Resource::Workflow(workflow) => {
                self.set_phase(id, Phase::Child { workflow: workflow.clone(), until });
                let workflow = workflow.clone();
                self.commands.push(Command::StartChild { frame: id, visit, workflow, input, until });
            }
        }
        Ok(())
    }

    pub fn set_timer(&mut self, id: FrameId, due_at: DateTime<Utc>) {
        let visit = self.frame(id).map(|frame| frame.visit).unwrap_or_default();
        self.commands.push(Command::SetTimer { frame: id, visit, due_at });
    }

    /// A Wait state's time, or that of a retry, has come.
    pub fn timer_fired(&mut self, id: FrameId, visit: u64) -> Result<(), Rejected> {
        self.expect(id, visit, "a timer", |phase| matches!(phase, Phase::Waiting { .. } | Phase::Backoff { .. }))?;
        let Some(frame) = self.frame(id) else { return Err(Rejected::NoFrame { frame: id }) };
        let early =
            |until: DateTime<Utc>| Rejected::Illegal { reason: format!("the timer is due at {until}, not before") };
        match &frame.phase {
            Phase::Waiting { until } | Phase::Backoff { until } if *until > self.at => return Err(early(*until)),
            Phase::Backoff { .. } => self.begin(id),
            _ => {
                let raw = frame.input.clone();
                let Some(state) = self.state_of(id) else {
                    self.attend(id, "States.Runtime", "the definition has no such state");
                    return Ok(());
                };
                let selected = self.select(id, &state.input_path, &raw);
                if let Err(failure) = selected.and_then(|selected| self.complete(id, state, selected)) {
                    self.fail(id, &failure.error, &failure.cause);
                }
            }
        }
        Ok(())
    }

    fn wait_until(&self, id: FrameId, until: &Until, input: &Value) -> Result<DateTime<Utc>, Failure> {
        let out_of_range = || Failure::new("States.Runtime", "the time to wait for is out of range");
        match until {
            Until::Seconds(amount) => {
                let seconds = self.amount(id, amount, input)?;
                self.later(seconds).ok_or_else(out_of_range)
            }
            Until::Timestamp(at) => Ok(at.with_timezone(&Utc)),
            Until::TimestampPath(path) => {
                let value = self.refer(id, path, input)?;
                let parsed = value.as_str().and_then(crate::engine::language::parse_timestamp);
                parsed.map(|at| at.with_timezone(&Utc)).ok_or_else(|| {
                    Failure::new(
                        "States.Runtime",
                        format!("`{}` is {value}, not a timestamp such as 2026-01-31T08:00:00Z", path.text()),
                    )
                })
            }
        }
    }

    fn choose(
        &mut self,
        id: FrameId,
        state: &State,
        choices: &[Choice],
        default: Option<&str>,
        input: &Payload,
    ) -> Result<(), Failure> {
        for choice in choices {
            if self.evaluate(id, input, |scope| choice.rule.evaluate(scope))? {
                let output = self.select(id, &state.output_path, input)?;
                if let Some(assign) = &choice.assign {
                    self.assign(id, assign, input)?;
                }
                self.enter(id, choice.next.clone(), output);
                return Ok(());
            }
        }
        let Some(default) = default else {
            return Err(Failure::new("States.NoChoiceMatched", "no rule matched and there is no Default"));
        };
        let output = self.select(id, &state.output_path, input)?;
        if let Some(assign) = &state.assign {
            self.assign(id, assign, input)?;
        }
        self.enter(id, default.to_owned(), output);
        Ok(())
    }

    fn open_map(&mut self, id: FrameId, state: &State, map: &MapState, input: &Payload) -> Result<(), Failure> {
        let found = match &map.items_path {
            Some(path) => Payload::from(self.refer(id, path, input)?),
            None => input.clone(),
        };
        let Some(items) = found.as_array() else {
            let where_ = map.items_path.as_ref().map_or("$", |path| path.text());
            return Err(Failure::new(
                "States.Runtime",
                format!("a Map state needs an array at `{where_}`, here is {found:.200}", found = found.to_string()),
            ));
        };
        let limit = self.concurrency(id, &map.max_concurrency, input)?;
        self.tolerance(id, map, input)?;
        if items.is_empty() {
            return self.complete(id, state, Payload::from(Value::Array(Vec::new())));
        }
        let inputs = match &map.item_selector {
            Some(selector) => self.select_items(id, selector, input, items)?,
            None => items.iter().cloned().map(Payload::from).collect(),
        };
        let total = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let started = if limit == 0 { total } else { limit.min(total) };
        let items = self.definition.reads_context.then(|| items.iter().cloned().map(Payload::from).collect());
        let first_inputs: Vec<Payload> =
            inputs.iter().take(usize::try_from(started).unwrap_or(usize::MAX)).cloned().collect();
        let first = self.open_frames(Some(id), inputs, items)?;
        self.set_phase(id, Phase::Joining(Join { first, total, started, succeeded: 0, failed: 0 }));
        for (index, input) in (0_u64..).zip(first_inputs) {
            self.start_machine(first.saturating_add(index), map.processor, input);
        }
        Ok(())
    }

    /// ItemSelector, for each item.
    fn select_items(
        &self,
        id: FrameId,
        selector: &Template,
        input: &Value,
        items: &[Value],
    ) -> Result<Vec<Payload>, Failure> {
        let (around, variables) = (self.context(id), self.variables(id));
        let mut inputs = Vec::with_capacity(items.len());
        for (index, item) in (0_u64..).zip(items) {
            let context = Self::context_of_item(&around, index, item);
            let scope = Scope { input, context: &context, variables: &variables, chance: self.chance() };
            let selected = selector.evaluate(&scope)?;
            within_limit("what ItemSelector makes", &selected)?;
            inputs.push(Payload::from(selected));
        }
        Ok(inputs)
    }

    /// InputPath or OutputPath.
    pub fn select(&self, id: FrameId, selection: &Selection, value: &Payload) -> Result<Payload, Failure> {
        match selection {
            Selection::Whole => Ok(value.clone()),
            Selection::Nothing => Ok(Payload::from(Value::Object(Map::new()))),
            Selection::Path(path) => {
                let found = self.read(id, path, value)?;
                within_limit("what a path selects", &found)?;
                Ok(Payload::from(found))
            }
        }
    }

    fn read(&self, id: FrameId, path: &Path, value: &Value) -> Result<Value, Failure> {
        self.evaluate(id, value, |scope| path.evaluate(scope)).map_err(outside_a_template)
    }

    pub fn refer(&self, id: FrameId, path: &ReferencePath, value: &Value) -> Result<Value, Failure> {
        self.evaluate(id, value, |scope| path.evaluate(scope)).map_err(outside_a_template)
    }

    /// Parameters.
    fn shape(&self, id: FrameId, state: &State, selected: Payload) -> Result<Payload, Failure> {
        match &state.parameters {
            Some(template) => {
                let shaped = self.evaluate(id, &selected, |scope| template.evaluate(scope))?;
                within_limit("the input after Parameters", &shaped)?;
                Ok(Payload::from(shaped))
            }
            None => Ok(selected),
        }
    }

    /// MaxConcurrency, which a path may give as a text too (recorded on AWS).
    fn concurrency(&self, id: FrameId, limit: &Amount, input: &Value) -> Result<u64, Failure> {
        let text = match limit {
            Amount::Path(path) => self.refer(id, path, input)?.as_str().and_then(|text| text.parse().ok()),
            Amount::Fixed(_) => None,
        };
        text.map_or_else(|| self.amount(id, limit, input), Ok)
    }

    pub fn amount(&self, id: FrameId, amount: &Amount, input: &Value) -> Result<u64, Failure> {
        match amount {
            Amount::Fixed(number) => Ok(*number),
            Amount::Path(path) => {
                let value = self.refer(id, path, input)?;
                let whole = value.as_u64().or_else(|| {
                    let number =
                        value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))?;
                    format!("{number:.0}").parse().ok()
                });
                whole.ok_or_else(|| {
                    Failure::new(
                        "States.Runtime",
                        format!("`{}` is {value}, not a whole number from 0 up", path.text()),
                    )
                })
            }
        }
    }

    fn seconds(&self, id: FrameId, amount: Option<&Amount>, input: &Value) -> Result<Option<u64>, Failure> {
        match amount.map(|amount| self.amount(id, amount, input)).transpose()? {
            Some(0) => Err(Failure::new("States.Runtime", "a timeout or heartbeat of 0 seconds cannot be kept")),
            other => Ok(other),
        }
    }

    fn compute(&self, id: FrameId, expression: &Expression, input: &Value) -> Result<Value, Failure> {
        match expression {
            Expression::Path(path) => self.read(id, path, input),
            Expression::Call(call) => self.evaluate(id, input, |scope| call.evaluate(scope)),
        }
    }

    fn text(&self, id: FrameId, text: Option<&Text>, input: &Value) -> Result<Option<String>, Failure> {
        match text {
            None => Ok(None),
            Some(Text::Fixed(text)) => Ok(Some(text.clone())),
            Some(Text::Computed(expression)) => match self.compute(id, expression, input)? {
                Value::String(text) => Ok(Some(text)),
                other => Err(Failure::new(
                    "States.Runtime",
                    format!("a Fail state's error and cause must be strings, here is {other}"),
                )),
            },
        }
    }

    /// The run goes no further: a Fail state that nothing catches.
    pub fn end_by_fail_state(&mut self, error: &str, cause: &str) {
        self.end(Outcome::Failed { error: error.to_owned(), cause: cause.to_owned() });
    }
}

/// A path that matches nothing is `States.ParameterPathFailure` in a payload template alone; in any other field it is an
/// error that no state can go on from.
///
/// Source: AWS, "Handling errors in Step Functions workflows", States.ParameterPathFailure and States.Runtime.
fn outside_a_template(failure: Failure) -> Failure {
    Failure { error: "States.Runtime".to_owned(), ..failure }
}

//! Paths: `$…` into the input, `$$…` into the context object, `$name…` into a variable.
//!
//! A definite path (names and indices only) stands for the node itself. Any other stands for the array of all nodes it
//! matches, which may be empty. Definite paths are walked here, since the specification's escapes (`$.a\.b`) and names with
//! dashes are not part of RFC 9535; everything else is rewritten to RFC 9535 and left to `serde_json_path`.

use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::{Context, Failure, MAX_DEPTH, Scope};

/// Filters nested deeper than this are refused: their parser calls itself for each level. A `!` counts as one that stays
/// open, so that a long filter has room for this many of them too.
const MAX_NESTING: usize = 40;

/// A parsed path.
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
    root: Root,
    query: Query,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    Input,
    Context,
    Variable(String),
}

#[derive(Debug, Clone)]
enum Query {
    Definite(Vec<Segment>),
    Indefinite(Box<JsonPath>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Name(String),
    Index(i64),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('$') else {
            return Err(format!("the path `{text}` must begin with `$`"));
        };
        let (root, rest) = if let Some(rest) = rest.strip_prefix('$') {
            (Root::Context, rest)
        } else if rest.starts_with(|letter: char| letter.is_alphabetic() || letter == '_') {
            let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            (Root::Variable(name.to_owned()), rest)
        } else {
            (Root::Input, rest)
        };
        let query = parse_query(rest).map_err(|why| format!("the path `{text}` is not valid: {why}"))?;
        Ok(Self { text: text.to_owned(), root, query })
    }

    /// The text the path was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The variable that the path begins at, if it begins at one.
    pub fn variable(&self) -> Option<&str> {
        match &self.root {
            Root::Variable(name) => Some(name),
            Root::Input | Root::Context => None,
        }
    }

    /// What the path stands for.
    ///
    /// # Errors
    /// `States.ParameterPathFailure` when a definite path matches nothing or its variable has never been assigned.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, Failure> {
        self.evaluate_optional(scope)?.ok_or_else(|| {
            let unassigned = |name: &&str| !scope.variables.iter().any(|variables| variables.contains_key(*name));
            Failure::parameter_path(match self.variable().filter(unassigned) {
                Some(name) => format!("the variable `${name}` has not been assigned"),
                None => format!("the path `{}` matches nothing in {}", self.text, self.root.of_what()),
            })
        })
    }

    /// Whether the path matches anything: one that may match many and matches none stands for an empty array, and is not
    /// there all the same.
    ///
    /// # Errors
    /// As [`Path::evaluate_optional`].
    pub fn is_present(&self, scope: &Scope) -> Result<bool, Failure> {
        Ok(match (self.evaluate_optional(scope)?, &self.query) {
            (None, _) => false,
            (Some(Value::Array(items)), Query::Indefinite(_)) => !items.is_empty(),
            (Some(_), _) => true,
        })
    }

    /// What the path stands for; `None` when a definite path matches nothing or its variable was never assigned.
    ///
    /// # Errors
    /// None today; the signature leaves room for queries that can fail.
    pub fn evaluate_optional(&self, scope: &Scope) -> Result<Option<Value>, Failure> {
        let root = match &self.root {
            Root::Input => scope.input,
            Root::Context => return Ok(self.query.find_in_context(scope.context)),
            Root::Variable(name) => match scope.variables.iter().find_map(|variables| variables.get(name)) {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        Ok(self.query.find(root))
    }
}

impl Query {
    fn find(&self, root: &Value) -> Option<Value> {
        match self {
            Self::Definite(segments) => walk(root, segments).cloned(),
            Self::Indefinite(query) => Some(Value::Array(query.query(root).all().into_iter().cloned().collect())),
        }
    }

    /// Copies what is asked for and nothing beside it, unless the query looks at more than one member.
    fn find_in_context(&self, context: &Context) -> Option<Value> {
        let Self::Definite(segments) = self else { return self.find(&context.whole()) };
        for (place, value) in &context.lent {
            let together = segments.iter().zip(*place).all(|(segment, name)| *segment == **name);
            match segments.get(place.len()..) {
                Some(rest) if together => return walk(value, rest).cloned(),
                None if together => return self.find(&context.whole()),
                Some(_) | None => {}
            }
        }
        self.find(&context.own)
    }
}

impl PartialEq<str> for Segment {
    fn eq(&self, other: &str) -> bool {
        matches!(self, Self::Name(name) if name == other)
    }
}

impl Root {
    fn of_what(&self) -> String {
        match self {
            Self::Input => "the input".to_owned(),
            Self::Context => "the context object".to_owned(),
            Self::Variable(name) => format!("the variable `${name}`"),
        }
    }
}

fn walk<'a>(mut node: &'a Value, segments: &[Segment]) -> Option<&'a Value> {
    for segment in segments {
        node = match (segment, node) {
            (Segment::Name(name), Value::Object(members)) => members.get(name)?,
            (Segment::Index(index), Value::Array(items)) => items.get(position(*index, items.len())?)?,
            _ => return None,
        };
    }
    Some(node)
}

fn position(index: i64, length: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

fn parse_query(rest: &str) -> Result<Query, String> {
    let mut reader = Reader { rest };
    let mut segments = Some(Vec::new());
    let mut standard = String::from("$");
    let mut count = 0_usize;
    while !reader.rest.is_empty() {
        count += 1;
        if count > MAX_DEPTH {
            return Err(format!("it has more than {MAX_DEPTH} steps"));
        }
        match reader.step()? {
            Step::Definite(segment) => {
                standard.push_str(&segment.standard());
                if let Some(list) = &mut segments {
                    list.push(segment);
                }
            }
            Step::Other(text) => {
                standard.push_str(&text);
                segments = None;
            }
        }
    }
    match segments {
        Some(segments) => Ok(Query::Definite(segments)),
        None => match JsonPath::parse(&standard) {
            Ok(query) => Ok(Query::Indefinite(Box::new(query))),
            Err(error) => Err(error.to_string()),
        },
    }
}

impl Segment {
    /// The segment as RFC 9535 writes it.
    fn standard(&self) -> String {
        match self {
            Self::Name(name) => format!("[{}]", quoted(name)),
            Self::Index(index) => format!("[{index}]"),
        }
    }
}

fn quoted(name: &str) -> String {
    Value::String(name.to_owned()).to_string()
}

enum Step {
    Definite(Segment),
    /// A wildcard, slice, union, filter or descent, as RFC 9535 writes it.
    Other(String),
}

struct Reader<'a> {
    rest: &'a str,
}

/// Functions that Jayway's JSONPath has behind a path.
const FUNCTIONS: [&str; 10] = ["length", "size", "min", "max", "avg", "sum", "stddev", "keys", "first", "last"];

impl Reader<'_> {
    fn step(&mut self) -> Result<Step, String> {
        if let Some(rest) = self.rest.strip_prefix("..") {
            self.rest = rest;
            let below = if rest.starts_with('[') {
                self.bracket()?
            } else if let Some(rest) = rest.strip_prefix('*') {
                self.rest = rest;
                "[*]".to_owned()
            } else {
                format!("[{}]", quoted(&self.name()?))
            };
            return Ok(Step::Other(format!("..{below}")));
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            if let Some(rest) = rest.strip_prefix('*') {
                self.rest = rest;
                return Ok(Step::Other("[*]".to_owned()));
            }
            // `$.a.['b c']` is how the documentation of AWS writes it.
            if !rest.starts_with('[') {
                return Ok(Step::Definite(Segment::Name(self.name()?)));
            }
        }
        if self.rest.starts_with('[') {
            let text = self.bracket()?;
            let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().trim();
            if let Ok(index) = inside.parse::<i64>() {
                return Ok(Step::Definite(Segment::Index(index)));
            }
            if let Some(name) = single_name(inside) {
                return Ok(Step::Definite(Segment::Name(name)));
            }
            return Ok(Step::Other(text));
        }
        Err(format!("`.` or `[` was expected at `{}`", self.rest))
    }

    /// A name behind a dot. A backslash takes the character behind it as it is.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        let mut letters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some((_, escaped)) => name.push(escaped),
                    None => return Err("it ends in a backslash".to_owned()),
                },
                '.' | '[' => {
                    end = at;
                    break;
                }
                '(' if FUNCTIONS.contains(&name.as_str()) => {
                    let instead = if name == "length" {
                        ": write States.ArrayLength($.path) where an intrinsic function may stand"
                    } else {
                        ""
                    };
                    return Err(format!("`{name}()` is a function of another JSONPath{instead}"));
                }
                '@' | ',' | ':' | '?' | '*' | '(' | ')' | ']' | '\'' | '"' | ' ' => {
                    return Err(format!(
                        "`{letter}` cannot stand in a name: write `['…']` or put a backslash before it"
                    ));
                }
                letter => name.push(letter),
            }
        }
        self.rest = self.rest.get(end..).unwrap_or_default();
        if name.is_empty() { Err("a name is missing behind a dot".to_owned()) } else { Ok(name) }
    }

    /// From `[` to its `]`, quotes and nesting respected.
    fn bracket(&mut self) -> Result<String, String> {
        let (mut depth, mut nesting) = (0_usize, 0_usize);
        let mut quote = None;
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            if nesting > MAX_NESTING {
                return Err(format!("brackets and negations are nested more than {MAX_NESTING} deep"));
            }
            match letter {
                '[' | '(' | '!' if quote.is_none() => nesting += 1,
                ']' | ')' if quote.is_none() => nesting = nesting.saturating_sub(1),
                _ => {}
            }
            match (quote, letter) {
                (Some(_), '\\') => {
                    letters.next();
                }
                (Some(open), letter) if letter == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(letter),
                (None, '[') => depth += 1,
                (None, ']') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        let (text, rest) = self.rest.split_at(at + 1);
                        self.rest = rest;
                        return Ok(text.to_owned());
                    }
                }
                (None, _) => {}
            }
        }
        Err("a `[` is not closed".to_owned())
    }
}

/// The name in `'name'` or `"name"`, if that is all there is.
fn single_name(inside: &str) -> Option<String> {
    let quote = inside.chars().next().filter(|letter| matches!(letter, '\'' | '"'))?;
    let body = inside.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut name = String::new();
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        if letter == quote {
            return None;
        }
        name.push(if letter == '\\' { letters.next()? } else { letter });
    }
    Some(name)
}

/// A Reference Path: it names exactly one node, which need not be there yet.
#[derive(Debug, Clone)]
pub struct ReferencePath {
    path: Path,
    segments: Vec<Segment>,
}

impl ReferencePath {
    /// Reads a Reference Path: `$`, `.name`, `['name']` and `[0]` only, and it may begin at the input alone or, for
    /// fields that are only read, at the context object or a variable.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = Path::parse(text)?;
        match &path.query {
            Query::Definite(segments) if segments.iter().all(|step| !matches!(step, Segment::Index(..0))) => {
                let segments = segments.clone();
                Ok(Self { path, segments })
            }
            Query::Definite(_) | Query::Indefinite(_) => Err(format!(
                "the path `{text}` must be a Reference Path, which names exactly one node: `@ , : ? *`, `..`, filters and \
                 negative indices cannot stand in it"
            )),
        }
    }

    pub fn text(&self) -> &str {
        self.path.text()
    }

    /// Whether the path begins at the input: only such a path can be written to.
    pub fn is_in_input(&self) -> bool {
        self.path.root == Root::Input
    }

    pub fn variable(&self) -> Option<&str> {
        self.path.variable()
    }

    /// What stands at the path.
    ///
    /// # Errors
    /// As [`Path::evaluate`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, Failure> {
        self.path.evaluate(scope)
    }

    /// Puts `value` at the path into `target`, as ResultPath does: missing objects on the way are made, an array's item
    /// is replaced.
    ///
    /// # Errors
    /// `States.ResultPathMatchFailure` when the way leads through something that is neither an object nor an array with
    /// that index.
    pub fn put(&self, target: Value, value: Value) -> Result<Value, Failure> {
        let mut target = target;
        let mut node = &mut target;
        for segment in &self.segments {
            node = match (segment, node) {
                (Segment::Name(name), Value::Object(members)) => {
                    let members: &mut Map<String, Value> = members;
                    members.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()))
                }
                (Segment::Index(index), Value::Array(items)) => {
                    let length = items.len();
                    match position(*index, length).and_then(|at| items.get_mut(at)) {
                        Some(item) => item,
                        None => return Err(self.mismatch(&format!("the array there has {length} items"))),
                    }
                }
                (Segment::Name(name), other) => {
                    return Err(self.mismatch(&format!("`{name}` would have to stand in {}", kind_of(other))));
                }
                (Segment::Index(index), other) => {
                    return Err(self.mismatch(&format!("item {index} would have to stand in {}", kind_of(other))));
                }
            };
        }
        *node = value;
        Ok(target)
    }

    fn mismatch(&self, why: &str) -> Failure {
        Failure::new(
            "States.ResultPathMatchFailure",
            format!("the ResultPath `{}` does not fit the input: {why}", self.text()),
        )
    }
}

/// What a value is, in words.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

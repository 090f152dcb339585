//! Reads a call of an intrinsic function.

use serde_json::{Number, Value};

use super::{Argument, Call, Function, Path};

/// Calls nested deeper than this are refused, as AWS does.
const MAX_NESTING: usize = 10;

/// Reads `States.Name(argument, …)`.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse(text: &str) -> Result<Call, String> {
    let mut reader = Reader { text, rest: text };
    let call = reader.call(1)?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(call) } else { Err(reader.wrong("nothing may follow the call")) }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, why: &str) -> String {
        format!("`{}` is not valid at byte {}: {why}", self.text, self.text.len().saturating_sub(self.rest.len()))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, letter: char) -> bool {
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn call(&mut self, nesting: usize) -> Result<Call, String> {
        if nesting > MAX_NESTING {
            return Err(self.wrong(&format!("intrinsic functions may be nested {MAX_NESTING} deep at most")));
        }
        let end = self
            .rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let Some(function) = Function::by_name(name) else {
            return Err(self.wrong(&format!("`{name}` is no intrinsic function")));
        };
        self.rest = rest;
        self.skip_space();
        if !self.take('(') {
            return Err(self.wrong(&format!("`(` was expected behind {name}")));
        }
        let mut arguments = Vec::new();
        self.skip_space();
        if !self.take(')') {
            loop {
                self.skip_space();
                arguments.push(self.argument(nesting)?);
                self.skip_space();
                if self.take(')') {
                    break;
                }
                if !self.take(',') {
                    return Err(self.wrong("`,` or `)` was expected"));
                }
            }
        }
        let (least, most) = function.arity();
        if arguments.len() < least || most.is_some_and(|most| arguments.len() > most) {
            let wanted = match most {
                Some(most) if most == least => format!("{least}"),
                Some(most) => format!("{least} to {most}"),
                None => format!("at least {least}"),
            };
            return Err(self.wrong(&format!("{name} takes {wanted} arguments, here are {}", arguments.len())));
        }
        Ok(Call { function, arguments })
    }

    fn argument(&mut self, nesting: usize) -> Result<Argument, String> {
        if self.rest.starts_with('\'') {
            return self.text_argument().map(Argument::Text);
        }
        if self.rest.starts_with('$') {
            let end = self.end_of_path();
            let (path, rest) = self.rest.split_at(end);
            let parsed = Path::parse(path.trim_end()).map_err(|why| self.wrong(&why))?;
            self.rest = rest;
            return Ok(Argument::Path(parsed));
        }
        if self.rest.starts_with("States.") {
            return self.call(nesting + 1).map(|call| Argument::Call(Box::new(call)));
        }
        let end = self.rest.find([',', ')']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let literal = match word.trim() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number => match number.parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => {
                    return Err(self.wrong(
                        "an argument must be a path, a call, a number, null, true, false or a text in single quotes",
                    ));
                }
            },
        };
        self.rest = rest;
        Ok(Argument::Literal(literal))
    }

    fn text_argument(&mut self) -> Result<String, String> {
        let body = self.rest.get(1..).unwrap_or_default();
        let mut letters = body.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some((_, '\'' | '{' | '}' | '\\')) => {}
                    Some(_) | None => {
                        return Err(self.wrong("in a text a backslash must stand before `'`, `{`, `}` or a backslash"));
                    }
                },
                '\'' => {
                    let raw = body.get(..at).unwrap_or_default().to_owned();
                    self.rest = body.get(at + 1..).unwrap_or_default();
                    return Ok(raw);
                }
                _ => {}
            }
        }
        Err(self.wrong("a `'` is not closed"))
    }

    /// Where a path ends: at a comma or a closing parenthesis outside brackets, quotes and inner parentheses.
    fn end_of_path(&self) -> usize {
        let mut quote = None;
        let mut depth = 0_usize;
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match (quote, letter) {
                (_, '\\') => {
                    letters.next();
                }
                (Some(open), letter) if letter == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') if depth > 0 => quote = Some(letter),
                (None, '[' | '(') => depth += 1,
                (None, ',' | ')') if depth == 0 => return at,
                (None, ']' | ')') => depth = depth.saturating_sub(1),
                (None, _) => {}
            }
        }
        self.rest.len()
    }
}

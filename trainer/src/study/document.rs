//! TOML with positions: every value knows where it stands, every complaint points there.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// What is wrong with a study, and where.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The file could not be read.
    #[error("{path}: cannot read the study: {source}")]
    Read {
        /// The file as the caller named it.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text is not a valid study.
    #[error(transparent)]
    Invalid(Box<Diagnostic>),
}

/// One complaint about one place in a study.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Diagnostic {
    /// The study's file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was wrong; what would be right.
    pub message: String,
    /// The cure, where it is known.
    pub hint: Option<String>,
    /// The offending line of the study.
    pub source_line: String,
    /// How many characters of it are meant.
    pub width: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.source_line)?;
        // Tabs are repeated so that the caret stays under its text at any tab width.
        let indent: String = (self.source_line.chars().take(self.column - 1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "{margin} | {indent}{}", "^".repeat(self.width))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A parsed text and its name, able to complain about any span of it.
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn parse(&self) -> Result<DeTable<'a>, StudyError> {
        match DeTable::parse(self.text) {
            Ok(table) => Ok(table.into_inner()),
            Err(error) => {
                let message = format!("not valid TOML: {}", error.message().replace('\n', "; "));
                Err(self.error(error.span().unwrap_or(0..0), message, None))
            }
        }
    }

    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> StudyError {
        StudyError::Invalid(Box::new(self.diagnostic(span, message, hint)))
    }

    pub(super) fn diagnostic(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Diagnostic {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let source_line = self.text[line_start..].lines().next().unwrap_or("");
        let before = self.text[line_start..start].chars().count();
        let covered = (self.text.get(start..span.end.max(start)))
            .and_then(|s| s.lines().next())
            .unwrap_or("");
        Diagnostic {
            file: self.file.to_owned(),
            line: self.text[..start].matches('\n').count() + 1,
            column: before + 1,
            message: message.into(),
            hint,
            source_line: source_line.to_owned(),
            width: covered.chars().count().max(1),
        }
    }

    /// Where a name stands in the lists of a `[[head]]`, or of any (`None`); else the head, or the start of a text without one.
    pub(super) fn place_in_heads(&self, head: Option<usize>, name: Option<&str>) -> Range<usize> {
        let Ok(table) = DeTable::parse(self.text) else { return 0..0 };
        let heads = table.get_ref().iter().find(|(key, _)| key.get_ref() == "head");
        let Some(heads) = heads.and_then(|(_, heads)| heads.get_ref().as_array()) else {
            return 0..0;
        };
        let asked = |at: usize| head.is_none_or(|head| head == at);
        let heads = || heads.iter().enumerate().filter(|(at, _)| asked(*at)).map(|(_, head)| head);
        let lists = heads().filter_map(|head| head.get_ref().as_table()).flat_map(DeTable::values);
        let mut listed =
            lists.filter_map(|value| value.get_ref().as_array()).flat_map(|list| list.iter());
        let found = listed.find(|entry| name.is_some() && entry.get_ref().as_str() == name);
        found.or_else(|| heads().next()).map_or(0..0, Spanned::span)
    }
}

/// A table that is being read: it remembers which keys were asked for, and refuses the others at the end.
pub(super) struct Section<'d, 'a> {
    pub(super) document: &'d Document<'a>,
    /// As messages name it, such as `[input]`.
    pub(super) name: String,
    pub(super) span: Range<usize>,
    entries: Vec<Entry<'d, 'a>>,
    asked: Vec<&'static str>,
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Entry<'d, 'a> {
    pub(super) document: &'d Document<'a>,
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: &'d Spanned<DeValue<'a>>,
}

impl<'d, 'a> Section<'d, 'a> {
    pub(super) fn new(
        document: &'d Document<'a>,
        name: &str,
        span: Range<usize>,
        table: &'d DeTable<'a>,
    ) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| Entry {
                document,
                key: key.get_ref().to_string(),
                key_span: key.span(),
                value,
            })
            .collect();
        Section { document, name: name.to_owned(), span, entries, asked: Vec::new() }
    }

    /// The value under `key`, if there is one.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'d, 'a>> {
        self.asked.push(key);
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(at))
    }

    /// The value under `key`; its absence is an error at the section's head.
    pub(super) fn require(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<Entry<'d, 'a>, StudyError> {
        if let Some(entry) = self.take(key) {
            return Ok(entry);
        }
        let near = self.entries.iter().find(|entry| nearest(&entry.key, &[key]).is_some());
        let (span, hint) = match near {
            Some(entry) => {
                (entry.key_span.clone(), format!("is `{}` meant to be `{key}`?", entry.key))
            }
            None => (self.span.clone(), format!("add `{key} = {example}`")),
        };
        Err(self.document.error(
            span,
            format!("`{key}` is missing in {}; it has no default", self.name),
            Some(hint),
        ))
    }

    /// Every value that was not asked for, in the order of the text: for a section whose keys are names of the user's.
    pub(super) fn take_rest(&mut self) -> Vec<Entry<'d, 'a>> {
        let mut rest = std::mem::take(&mut self.entries);
        rest.sort_by_key(|entry| entry.key_span.start);
        rest
    }

    /// Refuses whatever was not asked for.
    pub(super) fn finish(mut self) -> Result<(), StudyError> {
        self.entries.sort_by_key(|entry| entry.key_span.start);
        let Some(entry) = self.entries.first() else {
            return Ok(());
        };
        let hint = match nearest(&entry.key, &self.asked) {
            Some(known) => format!("is `{known}` meant?"),
            None => format!("{} knows {}", self.name, quoted(&self.asked)),
        };
        let message =
            format!("unknown key `{}` in {}; remove it or correct its name", entry.key, self.name);
        Err(self.document.error(entry.key_span.clone(), message, Some(hint)))
    }
}

impl<'d, 'a> Entry<'d, 'a> {
    pub(super) fn error(&self, message: impl Into<String>, hint: Option<String>) -> StudyError {
        self.document.error(self.value.span(), message, hint)
    }

    fn wrong_type(&self, wanted: &str) -> StudyError {
        let found = self.value.get_ref().type_str();
        self.error(format!("`{}` is {} {found}; write {wanted}", self.key, article(found)), None)
    }

    /// A number, whole or not.
    pub(super) fn number(&self) -> Result<f64, StudyError> {
        let value = self.value.get_ref();
        let number = match (value.as_float(), value.as_integer()) {
            (Some(float), _) => float.as_str().parse().ok(),
            (_, Some(integer)) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|i| i as f64)
            }
            _ => None,
        };
        match number {
            Some(number) if f64::is_finite(number) => Ok(number),
            Some(_) => {
                Err(self
                    .error(format!("`{}` is not finite; write a finite number", self.key), None))
            }
            None => Err(self.wrong_type("a number")),
        }
    }

    /// A number in `lower..=upper`.
    pub(super) fn number_in(&self, lower: f64, upper: f64) -> Result<f64, StudyError> {
        let number = self.number()?;
        if number < lower || number > upper {
            let message =
                format!("`{}` is {number}; write a number from {lower} to {upper}", self.key);
            return Err(self.error(message, None));
        }
        Ok(number)
    }

    /// A whole number in `lower..=upper`.
    pub(super) fn integer(&self, lower: u64, upper: u64) -> Result<u64, StudyError> {
        let wanted = format!("a whole number from {lower} to {upper}");
        let Some(integer) = self.value.get_ref().as_integer() else {
            return Err(self.wrong_type(&wanted));
        };
        match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if value >= i128::from(lower) && value <= i128::from(upper) => {
                Ok(value as u64)
            }
            _ => Err(self.error(format!("`{}` is {integer}; write {wanted}", self.key), None)),
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self) -> Result<&'d str, StudyError> {
        match self.value.get_ref().as_str() {
            Some("") => Err(self.error(format!("`{}` is empty; write a name", self.key), None)),
            Some(text) => Ok(text),
            None => Err(self.wrong_type("a text in double quotes")),
        }
    }

    /// A text, perhaps empty.
    pub(super) fn any_text(&self) -> Result<&'d str, StudyError> {
        let text = self.value.get_ref().as_str();
        text.ok_or_else(|| self.wrong_type("a text in double quotes"))
    }

    /// One of a few words.
    pub(super) fn choice(&self, choices: &[&'static str]) -> Result<&'static str, StudyError> {
        let text = self.text()?;
        if let Some(found) = choices.iter().find(|choice| **choice == text) {
            return Ok(found);
        }
        let hint = nearest(text, choices).map(|near| format!("is `{near}` meant?"));
        Err(self
            .error(format!("`{}` is `{text}`; write one of {}", self.key, quoted(choices)), hint))
    }

    /// The items of an array, each with its own place.
    pub(super) fn items(&self) -> Result<Vec<Entry<'d, 'a>>, StudyError> {
        let Some(array) = self.value.get_ref().as_array() else {
            return Err(self.wrong_type("an array in brackets"));
        };
        Ok(items(self, array))
    }

    /// The value as a table named `name`.
    pub(super) fn section(&self, name: &str) -> Result<Section<'d, 'a>, StudyError> {
        match self.value.get_ref().as_table() {
            Some(table) => Ok(Section::new(self.document, name, self.key_span.clone(), table)),
            None => Err(self.wrong_type("a table")),
        }
    }
}

fn items<'d, 'a>(entry: &Entry<'d, 'a>, array: &'d DeArray<'a>) -> Vec<Entry<'d, 'a>> {
    array
        .iter()
        .map(|value| Entry {
            document: entry.document,
            key: entry.key.clone(),
            key_span: value.span(),
            value,
        })
        .collect()
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// `` `a`, `b`, `c` ``.
pub(super) fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The known name that a reader of `word` most likely meant, if any is close.
pub(super) fn nearest<S: AsRef<str>>(word: &str, known: &[S]) -> Option<String> {
    let lower = word.to_lowercase();
    known
        .iter()
        .map(|name| (edit_distance(&lower, &name.as_ref().to_lowercase()), name.as_ref()))
        .filter(|(distance, name)| *distance <= 1.max(name.chars().count() / 3))
        .min_by_key(|(distance, name)| (*distance, name.len().abs_diff(lower.len())))
        .map(|(_, name)| name.to_owned())
}

/// Insertions, deletions, substitutions and swaps of neighbors that lead from `a` to `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = substituted.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    table[a.len()][b.len()]
}

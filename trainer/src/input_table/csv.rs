//! Windows in CSV: a header with a name per column, one window a row.

use super::{Expectation, InputTable, InputTableError, Places};

/// Reads a text; `path` is its file in messages.
pub(super) fn parse(
    text: &str,
    path: &str,
    expected: &Expectation,
) -> Result<InputTable, InputTableError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = |message: &str| InputTableError::File { path: path.into(), message: message.into() };
    let at = |line, message: String| InputTableError::Line { path: path.into(), line, message };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut columns: Vec<String> = Vec::new();
    let mut order: Vec<usize> = Vec::new();
    let mut note = None;
    let mut lines = Vec::new();
    let mut x = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| file(&error.to_string()))?;
        let line = record.position().map_or(0, |position| line_of(text, position));
        if columns.is_empty() {
            columns = record.iter().map(str::to_owned).collect();
            check_names(&columns).map_err(|message| at(line, message))?;
            order = match expected.positions(&columns) {
                Some(positions) => positions,
                None => {
                    note = expected
                        .note_of_positions(&columns)
                        .map_err(|message| at(line, message))?;
                    check_width(&columns, expected).map_err(|message| at(line, message))?;
                    (0..columns.len()).collect()
                }
            };
            continue;
        }
        if record.len() != columns.len() {
            let message =
                format!("{} columns where the header has {}", record.len(), columns.len());
            return Err(at(line, message));
        }
        lines.push(line);
        for (input, &column) in order.iter().enumerate() {
            let value = value(record.get(column).unwrap_or(""))
                .and_then(|value| expected.check(input, value).map(|()| value))
                .map_err(|message| at(line, format!("column `{}`: {message}", columns[column])))?;
            x.push(value);
        }
    }
    if columns.is_empty() {
        return Err(file(
            "empty\nhint: write a header with a name per column, then one window a row",
        ));
    }
    if lines.is_empty() {
        return Err(file("a header without rows\nhint: write one window a row"));
    }
    Ok(InputTable {
        file: path.into(),
        columns: order.iter().map(|&column| columns[column].clone()).collect(),
        places: Places::Lines(lines),
        x,
        note,
    })
}

fn check_names(columns: &[String]) -> Result<(), String> {
    if columns.iter().all(|name| !name.is_empty() && name.parse::<f32>().is_ok()) {
        return Err("numbers where a header is expected\nhint: write a name for each column in the first line".into());
    }
    for (position, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("column {} has no name", position + 1));
        }
        if columns[..position].contains(name) {
            return Err(format!("two columns are named `{name}`"));
        }
    }
    Ok(())
}

fn check_width(columns: &[String], expected: &Expectation) -> Result<(), String> {
    let needed = expected.transforms.len();
    if columns.len() == needed {
        return Ok(());
    }
    let hint = match columns {
        [only] if only.contains([';', '\t']) => "\nhint: separate the columns by commas",
        [_] if needed > 1 => "\nhint: write a window as one row, not as a column",
        _ => "",
    };
    Err(format!("{} columns where the model takes {needed} values a window{hint}", columns.len()))
}

/// One cell as a number; NaN where missing.
fn value(cell: &str) -> Result<f32, String> {
    if cell.is_empty() || ["nan", "na"].contains(&cell.to_ascii_lowercase().as_str()) {
        return Ok(f32::NAN);
    }
    let Ok(value) = cell.parse::<f32>() else {
        return Err(format!("`{cell}` is not a number"));
    };
    if value.is_finite() { Ok(value) } else { Err(format!("`{cell}` is not finite")) }
}

/// The line on which a record stands: the reader counts from before the blank and comment lines in front of it.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let mut rest = text.get(position.byte() as usize..).unwrap_or("");
    let mut line = position.line();
    while let Some((first, after)) = rest.split_once('\n') {
        if !(first.trim_end().is_empty() || first.starts_with('#')) {
            break;
        }
        (rest, line) = (after, line + 1);
    }
    line
}

#[cfg(test)]
mod tests {
    use simground_runtime::artifact::{Missing, Transform};

    use super::*;

    fn parse(text: &str, missing: Missing) -> Result<InputTable, String> {
        parse_named(text, missing, None)
    }

    fn parse_named(
        text: &str,
        missing: Missing,
        names: Option<[&str; 3]>,
    ) -> Result<InputTable, String> {
        let names = names.map(|names| names.map(str::to_owned).to_vec());
        let transforms = vec![Transform::Log1p; 3];
        let expected = Expectation { transforms, missing, names, foreign: false };
        super::parse(text, "data.csv", &expected).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_windows_and_their_lines() {
        let text = "\u{feff}# counts\na,b,c\r\n1, 2 ,3e1\r\n\n# later\n,NA,nan\n";
        let table = parse(text, Missing::Indicator).unwrap();
        assert_eq!(table.columns, ["a", "b", "c"]);
        assert_eq!(table.place(0), "data.csv:3");
        assert_eq!(table.place(1), "data.csv:6");
        assert_eq!(table.x[..3], [1.0, 2.0, 30.0]);
        assert!(table.x[3..].iter().all(|x| x.is_nan()));
    }

    #[test]
    fn faults_name_line_and_column() {
        let check = |text: &str, expected: &str| {
            let message = parse(text, Missing::Refuse).unwrap_err();
            assert!(message.starts_with(expected), "{message:?} for {text:?}");
        };
        check("", "data.csv: empty");
        check("# only\n", "data.csv: empty");
        check("a,b,c\n", "data.csv: a header without rows");
        check("a,b\n1,2\n", "data.csv:1: 2 columns where the model takes 3 values a window");
        check(
            "a;b;c\n1;2;3\n",
            "data.csv:1: 1 columns where the model takes 3 values a window\nhint: separate",
        );
        check(
            "a\tb\tc\n1\t2\t3\n",
            "data.csv:1: 1 columns where the model takes 3 values a window\nhint: separate",
        );
        check("a,b,a\n1,2,3\n", "data.csv:1: two columns are named `a`");
        check("a,,c\n1,2,3\n", "data.csv:1: column 2 has no name");
        check("1,2,3\n1,2,3\n", "data.csv:1: numbers where a header is expected");
        check("a,b,c\n1,2,3\n1,2\n", "data.csv:3: 2 columns where the header has 3");
        check("a,b,c\n\n#\n1,two,3\n", "data.csv:4: column `b`: `two` is not a number");
        check("a,b,c\n1,2,-3\n", "data.csv:2: column `c`: -3 is negative");
        check("a,b,c\n1,2,inf\n", "data.csv:2: column `c`: `inf` is not finite");
        check("a,b,c\n1,2,1e39\n", "data.csv:2: column `c`: `1e39` is not finite");
        check("a,b,c\n1,,3\n", "data.csv:2: column `b`: missing, but");
    }

    #[test]
    fn columns_are_matched_by_the_names_of_the_model_where_the_header_has_them() {
        let names = Some(["a", "b", "c"]);
        let table = parse_named("day,c,a,b\nmonday,3,1,2\n", Missing::Refuse, names).unwrap();
        assert_eq!(table.x, [1.0, 2.0, 3.0]);
        assert_eq!(table.columns, ["a", "b", "c"]);
        assert_eq!(table.note, None);
        let message = parse_named("c,a,b\n3,-1,2\n", Missing::Refuse, names).unwrap_err();
        assert!(message.starts_with("data.csv:2: column `a`: -1 is negative"), "{message}");

        let table = parse_named("d,e,f\n3,1,2\n", Missing::Refuse, names).unwrap();
        assert_eq!(table.x, [3.0, 1.0, 2.0]);
        let note = table.note.unwrap();
        assert!(note.contains("by position") && note.contains("`a`"), "{note}");
        assert!(parse_named("d,e,f,g\n3,1,2,4\n", Missing::Refuse, names).is_err());

        // Some names are wrong, and the others are not where they would be by position.
        let message = parse_named("c,d,e\n3,1,2\n", Missing::Refuse, names).unwrap_err();
        assert!(message.starts_with("data.csv:1: no column `a`"), "{message}");
        let message = parse_named("c,a,B\n3,1,2\n", Missing::Refuse, names).unwrap_err();
        assert!(message.starts_with("data.csv:1: no column `b`"), "{message}");
        assert!(message.contains("one is `B`"), "{message}");
    }
}

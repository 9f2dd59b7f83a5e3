//! How the story is written down: numbered steps, what one would type, what came of it. Plain text, no colours.

use std::io::{self, Write};

/// Writes, and knows how far it is.
pub(super) struct Teller<'a> {
    out: &'a mut dyn Write,
    /// Which step is being told; 0 before the first.
    pub(super) step: usize,
    /// Its title.
    pub(super) title: &'static str,
}

impl<'a> Teller<'a> {
    /// Nothing told yet.
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            step: 0,
            title: "",
        }
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, title: &'static str) -> io::Result<()> {
        self.step += 1;
        self.title = title;
        let gap = if self.step > 1 { "\n" } else { "" };
        writeln!(self.out, "{gap}{}. {title}", self.step)?;
        self.out.flush()
    }

    /// What one would type.
    pub(super) fn typed(&mut self, command: &str) -> io::Result<()> {
        self.says(&format!("$ {command}"))
    }

    /// Text of one or more lines.
    pub(super) fn says(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            writeln!(self.out, "{}", format!("   {line}").trim_end())?;
        }
        self.out.flush()
    }

    /// A word outside the steps.
    pub(super) fn aside(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{text}")?;
        self.out.flush()
    }

    /// Rows whose columns line up.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        self.says(&aligned(rows))
    }
}

/// Rows with columns as wide as their widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_and_columns_line_up() {
        let mut told = Vec::new();
        let mut teller = Teller::new(&mut told);
        teller.step("One").unwrap();
        teller.typed("kubectl get nodes").unwrap();
        let rows = [["NAME", "AGE"], ["n", "1s"]];
        teller
            .table(&rows.map(|row| row.map(str::to_owned).to_vec()))
            .unwrap();
        teller.step("Two").unwrap();
        let want = "1. One\n   $ kubectl get nodes\n   NAME   AGE\n   n      1s\n\n2. Two\n";
        assert_eq!(String::from_utf8(told).unwrap(), want);
    }
}

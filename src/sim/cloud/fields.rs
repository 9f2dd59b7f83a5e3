//! Reading a JSON object strictly: every field by its exact name and type, and no other field.

use serde_json::{Map, Value};

use super::render::Problem;

/// An object being read. Errors name the field.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    read: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, Problem> {
        let object = value
            .as_object()
            .ok_or_else(|| Problem::new(400, "the body must be a JSON object"))?;
        Ok(Self {
            object,
            read: Vec::new(),
        })
    }

    /// Whatever stands there.
    pub(super) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.read.push(name);
        self.object.get(name)
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Problem> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::invalid(name, "must be a string")),
        }
    }

    /// A text that is not empty.
    pub(super) fn required_text(&mut self, name: &'static str) -> Result<&'a str, Problem> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Problem::invalid(name, "is missing"))
    }

    /// One of a few texts, letter by letter.
    pub(super) fn choice(
        &mut self,
        name: &'static str,
        allowed: &[&str],
    ) -> Result<Option<&'a str>, Problem> {
        match self.text(name)? {
            Some(text) if !allowed.contains(&text) => {
                Err(Problem::invalid(name, &format!("must be one of {allowed:?}")))
            }
            found => Ok(found),
        }
    }

    /// A whole JSON number: no string, no fraction.
    pub(super) fn int(&mut self, name: &'static str, low: u32, high: u32) -> Result<Option<u32>, Problem> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (low..=high).contains(number))
            .map(Some)
            .ok_or_else(|| Problem::invalid(name, &format!("must be an integer of {low} to {high}")))
    }

    pub(super) fn required_int(&mut self, name: &'static str, low: u32, high: u32) -> Result<u32, Problem> {
        self.int(name, low, high)?
            .ok_or_else(|| Problem::invalid(name, "is missing"))
    }

    /// A port that can be listened on.
    pub(super) fn required_port(&mut self, name: &'static str) -> Result<u16, Problem> {
        let port = self.required_int(name, 1, u16::MAX.into())?;
        Ok(u16::try_from(port).expect("the range was checked"))
    }

    /// The end: nothing else may be there. Assumed: the real API may overlook it; here a misspelt field must show.
    pub(super) fn done(self) -> Result<(), Problem> {
        match self
            .object
            .keys()
            .find(|name| !self.read.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => Err(Problem::invalid(name, "no such field")),
        }
    }
}

pub(super) fn required<T>(name: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::invalid(name, "is missing"))
}

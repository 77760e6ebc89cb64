//! What a component says about itself to whoever looks inside: its interfaces as WIT, who made it, what it carries along. Nothing
//! is compiled, and what is refused as a policy is told all the same.

use wasmparser::{Parser, Payload, ProducersSectionReader};
use wit_component::{DecodedWasm, WitPrinter, decode};

use super::host::custom_section::{append, length};

/// The section's name that says who made a component, by the conventions that all tools share.
const PRODUCERS: &str = "producers";
/// Its field for languages.
const LANGUAGE: &str = "language";

/// What is in a component's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy {
    /// Names of the outermost component's imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// Its world and every interface it uses, as WIT.
    pub wit: String,
    /// Languages and tools it was made with, each once: `language Rust 1.95`. Where it tells its own language, that of an engine in it, or of
    /// another part, is told as such.
    pub producers: Vec<String>,
    /// Its own custom sections and those of its parts: name and bytes.
    pub sections: Vec<(String, usize)>,
    /// Core modules in it.
    pub modules: usize,
}

/// Looks into a component.
///
/// # Errors
/// It is none, or damaged.
pub fn anatomy(bytes: &[u8]) -> Result<Anatomy, String> {
    let mut found = Anatomy::default();
    let (mut depth, mut of_parts) = (0_usize, Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| format!("not a WebAssembly component: {error}"))? {
            Payload::ModuleSection { .. } => {
                found.modules += 1;
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) => {
                found.sections.push((section.name().to_owned(), section.data().len()));
                if section.name() == PRODUCERS {
                    // What cannot be read there says nothing about the component.
                    let reader = ProducersSectionReader::new(wasmparser::BinaryReader::new(section.data(), 0));
                    let told = if depth == 0 { &mut found.producers } else { &mut of_parts };
                    told.extend(reader.map(producers).unwrap_or_default());
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                found.imports.extend(section.into_iter().flatten().map(|import| import.name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                found.exports.extend(section.into_iter().flatten().map(|export| export.name.name.to_owned()));
            }
            _ => {}
        }
    }
    let tells_its_own = found.producers.iter().any(|told| in_language(told).is_some());
    found.producers.extend(of_parts.into_iter().map(|told| match in_language(&told) {
        Some(language) if tells_its_own => format!("{LANGUAGE} of a part {language}"),
        _ => told,
    }));
    found.producers.sort();
    found.producers.dedup();
    found.wit = wit(bytes)?;
    Ok(found)
}

/// The component with what it is written in told in it. Only for what an engine in it runs: compilers tell theirs.
#[must_use]
pub fn tell_language(mut component: Vec<u8>, language: &str) -> Vec<u8> {
    // One field of one value, whose version nobody knows here.
    let mut told = vec![1];
    put_text(&mut told, LANGUAGE);
    told.push(1);
    put_text(&mut told, language);
    put_text(&mut told, "");
    append(&mut component, PRODUCERS, &told);
    component
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend(text.as_bytes());
}

/// The language that a line about who made something tells.
fn in_language(told: &str) -> Option<&str> {
    told.strip_prefix(LANGUAGE)?.strip_prefix(' ')
}

fn producers(reader: ProducersSectionReader<'_>) -> Vec<String> {
    let fields = reader.into_iter().flatten();
    let lines = fields.flat_map(|field| {
        let kind = field.name.to_owned();
        let values: Vec<_> = field.values.into_iter().flatten().collect();
        values.into_iter().map(move |value| format!("{kind} {} {}", value.name, value.version).trim_end().to_owned())
    });
    lines.collect()
}

fn wit(bytes: &[u8]) -> Result<String, String> {
    let decoded = decode(bytes).map_err(|error| format!("its interfaces cannot be read: {error:#}"))?;
    let DecodedWasm::Component(resolve, _) = &decoded else {
        return Err("a package of WIT, and no component".to_owned());
    };
    let main = decoded.package();
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, main, &others).map_err(|error| format!("its interfaces cannot be written: {error:#}"))?;
    Ok(printer.output.to_string())
}

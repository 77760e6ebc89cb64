//! What a component says about itself to whoever looks inside: its interfaces as WIT, who made it, what it carries along. Nothing
//! is compiled, and what is refused as a policy is told all the same.

use wasmparser::{Parser, Payload, ProducersSectionReader};
use wit_component::{DecodedWasm, WitPrinter, decode};

/// What is in a component's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy {
    /// Names of the outermost component's imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// Its world and every interface it uses, as WIT.
    pub wit: String,
    /// Languages and tools it was made with, each once: `language Rust 1.95`.
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
    let mut depth = 0_usize;
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
                if section.name() == "producers" {
                    // What cannot be read there says nothing about the component.
                    let reader = ProducersSectionReader::new(wasmparser::BinaryReader::new(section.data(), 0));
                    found.producers.extend(reader.map(producers).unwrap_or_default());
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
    found.producers.sort();
    found.producers.dedup();
    found.wit = wit(bytes)?;
    Ok(found)
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

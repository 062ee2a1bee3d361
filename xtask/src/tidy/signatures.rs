//! No `bool` parameter in a public function or a method of a public trait: an enum names the choice.

use std::path::Path;

use syn::visit::{self, Visit};

use super::Violation;

/// Checks one file; what does not parse is a violation, because nothing in it could be checked.
pub fn check(path: &Path, source: &str) -> Vec<Violation> {
    match syn::parse_file(source) {
        Ok(file) => {
            let mut signatures = Signatures { path, violations: Vec::new() };
            signatures.visit_file(&file);
            signatures.violations
        }
        Err(error) => {
            vec![Violation::at(path, error.span().start().line, format!("does not parse: {error}"))]
        }
    }
}

struct Signatures<'a> {
    path: &'a Path,
    violations: Vec<Violation>,
}

impl Signatures<'_> {
    fn check(&mut self, signature: &syn::Signature) {
        for input in &signature.inputs {
            if let syn::FnArg::Typed(argument) = input
                && is_bool(&argument.ty)
            {
                self.violations.push(Violation::at(
                    self.path,
                    argument.colon_token.spans[0].start().line,
                    format!(
                        "public function `{}` has a `bool` parameter; give the choice an enum with names",
                        signature.ident
                    ),
                ));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Signatures<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_public(&item.vis) {
            self.check(&item.sig);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_public(&item.vis) {
            self.check(&item.sig);
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if is_public(&item.vis) {
            for member in &item.items {
                if let syn::TraitItem::Fn(method) = member {
                    self.check(&method.sig);
                }
            }
        }
        visit::visit_item_trait(self, item);
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// `bool`, a reference to it, or an `Option` of it; a slice of flags or a closure that returns one is data.
fn is_bool(kind: &syn::Type) -> bool {
    match kind {
        syn::Type::Reference(reference) => is_bool(&reference.elem),
        syn::Type::Paren(inner) => is_bool(&inner.elem),
        syn::Type::Group(inner) => is_bool(&inner.elem),
        syn::Type::Path(path) => path.path.segments.last().is_some_and(|last| match &last.arguments {
            syn::PathArguments::None => last.ident == "bool",
            syn::PathArguments::AngleBracketed(arguments) if last.ident == "Option" => arguments
                .args
                .iter()
                .any(|argument| matches!(argument, syn::GenericArgument::Type(kind) if is_bool(kind))),
            _ => false,
        }),
        _ => false,
    }
}

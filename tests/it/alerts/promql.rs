//! What can be said of an expression without evaluating it: what it reads, and which labels its result has.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::token::{T_BOTTOMK, T_DIV, T_LAND, T_LOR, T_LUNLESS, T_TOPK};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};

/// The labels that the series of a name have.
pub(crate) type Series = BTreeMap<String, BTreeSet<String>>;

/// The expression, parsed and checked for types.
pub(crate) fn parse(expr: &str) -> Expr {
    promql_parser::parser::parse(expr).unwrap_or_else(|error| panic!("{error}: {expr}"))
}

/// The sub-expressions of an expression.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(aggregate) => {
            aggregate.param.iter().chain([&aggregate.expr]).map(|e| &**e).collect()
        }
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Call(call) => call.args.args.iter().map(|arg| &**arg).collect(),
        _ => vec![],
    }
}

/// Calls `visit` with every sub-expression, outer ones first, and the functions that it is an argument of.
fn walk<'e>(
    expr: &'e Expr,
    around: &mut Vec<&'e str>,
    visit: &mut impl FnMut(&'e Expr, &[&'e str]),
) {
    visit(expr, around);
    let function = if let Expr::Call(call) = expr { Some(call.func.name) } else { None };
    around.extend(function);
    for part in parts(expr) {
        walk(part, around, visit);
    }
    if function.is_some() {
        around.pop();
    }
}

/// The selectors of an expression, with the functions around each.
pub(crate) fn selectors(expr: &Expr) -> Vec<(&VectorSelector, Vec<&str>)> {
    let mut found = Vec::new();
    walk(expr, &mut Vec::new(), &mut |part, around| {
        let selector = match part {
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(matrix) => &matrix.vs,
            _ => return,
        };
        found.push((selector, around.to_vec()));
    });
    found
}

/// Whether one of these functions makes a rate of a counter.
pub(crate) fn is_rate(around: &[&str]) -> bool {
    around.iter().any(|function| ["rate", "increase", "changes"].contains(function))
}

/// The name of the metric that a selector reads.
pub(crate) fn name(selector: &VectorSelector) -> &str {
    selector.name.as_deref().unwrap_or_else(|| panic!("{selector} names no metric"))
}

/// The denominators that may be zero: not a number, and nowhere compared.
pub(crate) fn unguarded_denominators(expr: &Expr) -> Vec<String> {
    let mut found = Vec::new();
    walk(expr, &mut Vec::new(), &mut |part, _| {
        if let Expr::Binary(binary) = part
            && binary.op.id() == T_DIV
            && !matches!(strip(&binary.rhs), Expr::NumberLiteral(_))
            && !is_comparison(strip(&binary.rhs))
        {
            found.push(binary.rhs.to_string());
        }
    });
    found
}

/// Whether the outermost operation drops what is not worth an alert.
pub(crate) fn is_condition(expr: &Expr) -> bool {
    match strip(expr) {
        other @ Expr::Binary(binary) => match binary.op.id() {
            T_LOR => is_condition(&binary.lhs) && is_condition(&binary.rhs),
            T_LUNLESS => true,
            T_LAND => is_condition(&binary.lhs) || is_condition(&binary.rhs),
            _ => is_comparison(other),
        },
        Expr::Call(call) if call.func.name == "absent" => true,
        Expr::Call(call) => call.args.args.first().is_some_and(|arg| is_condition(arg)),
        Expr::Aggregate(aggregate) => is_condition(&aggregate.expr),
        _ => false,
    }
}

fn is_comparison(expr: &Expr) -> bool {
    matches!(expr, Expr::Binary(b) if b.op.is_comparison_operator() && !b.return_bool())
}

fn strip(expr: &Expr) -> &Expr {
    if let Expr::Paren(paren) = expr { strip(&paren.expr) } else { expr }
}

/// The labels of the result, without its name.
pub(crate) fn labels(expr: &Expr, series: &Series) -> BTreeSet<String> {
    match expr {
        Expr::Aggregate(aggregate) => of_aggregate(aggregate, series),
        Expr::Unary(unary) => labels(&unary.expr, series),
        Expr::Binary(binary) => of_binary(binary, series),
        Expr::Paren(paren) => labels(&paren.expr, series),
        Expr::Subquery(subquery) => labels(&subquery.expr, series),
        Expr::VectorSelector(selector) => of_selector(selector, series),
        Expr::MatrixSelector(matrix) => of_selector(&matrix.vs, series),
        Expr::Call(call) => of_call(call, series),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => BTreeSet::new(),
    }
}

fn of_selector(selector: &VectorSelector, series: &Series) -> BTreeSet<String> {
    let name = name(selector);
    let labels = series.get(name).unwrap_or_else(|| panic!("{name} is no metric"));
    for matcher in &selector.matchers.matchers {
        assert!(labels.contains(&matcher.name), "{name} has no label {}", matcher.name);
    }
    labels.clone()
}

fn of_aggregate(aggregate: &AggregateExpr, series: &Series) -> BTreeSet<String> {
    let inner = labels(&aggregate.expr, series);
    match &aggregate.modifier {
        // These choose series and change none.
        _ if [T_TOPK, T_BOTTOMK].contains(&aggregate.op.id()) => inner,
        None => BTreeSet::new(),
        Some(LabelModifier::Include(by)) => {
            for label in &by.labels {
                // Who attaches it to the targets gets it; without it, it is empty.
                let optional = label == "nats_cluster" && inner.contains("instance");
                assert!(optional || inner.contains(label), "{} has no {label}", aggregate.expr);
            }
            by.labels.iter().cloned().collect()
        }
        Some(LabelModifier::Exclude(without)) => {
            inner.into_iter().filter(|label| !without.labels.contains(label)).collect()
        }
    }
}

fn of_binary(binary: &BinaryExpr, series: &Series) -> BTreeSet<String> {
    let (left, right) = (labels(&binary.lhs, series), labels(&binary.rhs, series));
    let is_number = |expr: &Expr| matches!(strip(expr), Expr::NumberLiteral(_) | Expr::Call(_));
    let modifier = binary.modifier.as_ref();
    let on = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        Some(LabelModifier::Include(on)) => Some(&on.labels),
        Some(LabelModifier::Exclude(_)) => panic!("`ignoring` is not read here: {binary}"),
        None => None,
    };
    for label in on.into_iter().flatten() {
        assert!(left.contains(label) && right.contains(label), "a side has no {label}: {binary}");
    }
    if binary.op.is_set_operator() {
        if binary.op.id() == T_LOR {
            return left.union(&right).cloned().collect();
        }
        assert!(on.is_some() || left == right, "the sides share no labels: {binary}");
        return left;
    }
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(more)) => {
            left.into_iter().chain(more.labels.iter().cloned()).collect()
        }
        Some(VectorMatchCardinality::OneToMany(more)) => {
            right.into_iter().chain(more.labels.iter().cloned()).collect()
        }
        _ => match on {
            Some(on) => on.iter().cloned().collect(),
            None if left.is_empty() && is_number(&binary.lhs) => right,
            None if right.is_empty() => left,
            None => {
                assert_eq!(left, right, "the sides have other labels: {binary}");
                left
            }
        },
    }
}

fn of_call(call: &Call, series: &Series) -> BTreeSet<String> {
    let text = |at: usize| match &*call.args.args[at] {
        Expr::StringLiteral(text) => text.val.clone(),
        other => panic!("{other} is no text"),
    };
    match call.func.name {
        "absent" | "vector" | "time" | "scalar" => BTreeSet::new(),
        name @ ("label_replace" | "label_join") => {
            let mut found = labels(&call.args.args[0], series);
            let sources = if name == "label_replace" { 3..4 } else { 3..call.args.args.len() };
            for source in sources.map(text) {
                assert!(found.contains(&source), "there is no {source} in {call}");
            }
            found.insert(text(1));
            found
        }
        _ => call
            .args
            .args
            .iter()
            .map(|arg| labels(arg, series))
            .find(|labels| !labels.is_empty())
            .unwrap_or_default(),
    }
}

//! A graph without cycles, drawn in layers from left to right: each node one layer behind the last of those that it needs.

use serde::Serialize;
use std::collections::BTreeMap;

/// Width and height of a node, and the room between layers and rows.
const NODE: (f64, f64) = (168.0, 40.0);
const ROOM: (f64, f64) = (56.0, 18.0);
/// Turns in which nodes move beside their neighbours.
const TURNS: usize = 4;

/// A node to be placed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub name: String,
    /// Names of the nodes that come before it.
    pub needs: Vec<String>,
    /// The word for its state.
    pub state: &'static str,
    /// A second line.
    pub note: String,
    pub href: Option<String>,
}

/// The picture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Graph {
    pub width: f64,
    pub height: f64,
    pub nodes: Vec<Placed>,
    /// Paths of SVG.
    pub edges: Vec<String>,
}

/// A node in its place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Placed {
    pub name: String,
    /// The name, cut where it would run out of the node.
    pub shown: String,
    pub state: &'static str,
    pub note: String,
    pub href: Option<String>,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub layer: usize,
}

/// Draws a graph; nothing of no nodes. What a node needs and is not there is left out.
pub(crate) fn draw(nodes: Vec<Node>) -> Option<Graph> {
    if nodes.is_empty() {
        return None;
    }
    let index: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let needs: Vec<Vec<usize>> =
        nodes.iter().map(|node| node.needs.iter().filter_map(|name| index.get(name.as_str()).copied()).collect()).collect();
    let layer = layers(&needs);
    let rows = rows(&needs, &layer);
    let (columns, tallest) = (layer.iter().max().map_or(0, |last| last + 1), rows.iter().map(Vec::len).max().unwrap_or(0));
    let height = tallest as f64 * (NODE.1 + ROOM.1) + ROOM.1;
    let mut place = vec![(0.0, 0.0); nodes.len()];
    for (column, row) in rows.iter().enumerate() {
        let free = height - row.len() as f64 * (NODE.1 + ROOM.1) + ROOM.1;
        for (at, node) in row.iter().enumerate() {
            place[*node] = (1.0 + column as f64 * (NODE.0 + ROOM.0), free / 2.0 + at as f64 * (NODE.1 + ROOM.1));
        }
    }
    let edges = needs.iter().enumerate().flat_map(|(to, from)| from.iter().map(move |from| (*from, to)));
    let edges = edges.map(|(from, to)| edge(place[from], place[to])).collect();
    let placed = nodes.into_iter().zip(place).zip(layer).map(|((node, (x, y)), layer)| Placed {
        shown: cut(&node.name),
        name: node.name,
        state: node.state,
        note: node.note,
        href: node.href,
        x,
        y,
        width: NODE.0,
        height: NODE.1,
        layer,
    });
    Some(Graph { width: columns as f64 * (NODE.0 + ROOM.0) - ROOM.0 + 2.0, height, nodes: placed.collect(), edges })
}

/// The longest way to each node.
fn layers(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut layer = vec![0; needs.len()];
    // As many turns as there are nodes suffice, and bound what a cycle would cost.
    for _ in 0..needs.len() {
        let mut moved = false;
        for (node, before) in needs.iter().enumerate() {
            let least = before.iter().map(|before| layer[*before] + 1).max().unwrap_or(0).min(needs.len());
            if least > layer[node] {
                (layer[node], moved) = (least, true);
            }
        }
        if !moved {
            break;
        }
    }
    layer
}

/// The nodes of each layer, from top to bottom: near the middle of what they touch.
fn rows(needs: &[Vec<usize>], layer: &[usize]) -> Vec<Vec<usize>> {
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)];
    layer.iter().enumerate().for_each(|(node, layer)| rows[*layer].push(node));
    let mut touches: Vec<Vec<usize>> = needs.to_vec();
    needs.iter().enumerate().for_each(|(to, from)| from.iter().for_each(|from| touches[*from].push(to)));
    for _ in 0..TURNS {
        let mut at = vec![0.0; needs.len()];
        for row in &rows {
            let middle = (row.len() as f64 - 1.0) / 2.0;
            row.iter().enumerate().for_each(|(n, node)| at[*node] = n as f64 - middle);
        }
        for row in &mut rows {
            let mean = |node: usize| touches[node].iter().map(|other| at[*other]).sum::<f64>() / touches[node].len().max(1) as f64;
            row.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
        }
    }
    rows
}

fn edge(from: (f64, f64), to: (f64, f64)) -> String {
    let (x1, y1, x2, y2) = (from.0 + NODE.0, from.1 + NODE.1 / 2.0, to.0, to.1 + NODE.1 / 2.0);
    let bend = (x2 - x1) / 2.0;
    format!("M{x1:.0} {y1:.1}C{:.0} {y1:.1} {:.0} {y2:.1} {x2:.0} {y2:.1}", x1 + bend, x2 - bend)
}

fn cut(name: &str) -> String {
    const MOST: usize = 20;
    if name.chars().count() <= MOST { name.into() } else { name.chars().take(MOST - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(name: &str, needs: &[&str]) -> Node {
        Node { name: name.into(), needs: needs.iter().map(ToString::to_string).collect(), ..Node::default() }
    }

    #[test]
    fn a_diamond_has_three_layers_and_nothing_overlaps() {
        let graph = draw(vec![node("a", &[]), node("b", &["a"]), node("c", &["a", "nowhere"]), node("d", &["b", "c", "a"])]).unwrap();
        let layers: Vec<usize> = graph.nodes.iter().map(|node| node.layer).collect();
        assert_eq!((layers, graph.edges.len()), (vec![0, 1, 1, 2], 5));
        for (n, a) in graph.nodes.iter().enumerate() {
            assert!(a.x >= 0.0 && a.y >= 0.0 && a.x + a.width <= graph.width && a.y + a.height <= graph.height);
            for b in &graph.nodes[n + 1..] {
                assert!(a.x != b.x || (a.y - b.y).abs() >= a.height, "{a:?} lies over {b:?}");
            }
        }
    }

    #[test]
    fn what_is_wide_or_wrong_is_drawn_all_the_same() {
        assert!(draw(Vec::new()).is_none());
        let many: Vec<Node> = (0..200).map(|n| node(&format!("step-with-a-very-long-name-{n}"), &["first"])).collect();
        let graph = draw([vec![node("first", &[])], many].concat()).unwrap();
        assert_eq!(graph.nodes.len(), 201);
        assert!(graph.nodes[1].shown.ends_with('…'));
        assert!(draw(vec![node("a", &["b"]), node("b", &["a"])]).is_some(), "a cycle ends too");
    }
}

//! Places boxes in layers, top to bottom, so that nothing lies over anything else.
//!
//! Every transition is cut at each layer that it crosses: it takes a place of its own in the row, and its label is such a
//! place, as wide as its text. So boxes, labels and lines share rows without overlaps, whatever the graph; lines bend only
//! in the gaps between rows. Transitions that go back upwards are laid out as if they went down.

/// A box to place: its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub width: f64,
    pub height: f64,
}

/// A transition to draw, from box to box; `label` is the size of its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub from: usize,
    pub to: usize,
    pub label: Option<Size>,
}

/// Where everything stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub width: f64,
    pub height: f64,
    /// Upper left corners, by box.
    pub boxes: Vec<(f64, f64)>,
    /// By link.
    pub lines: Vec<Line>,
}

/// The way of one link, from its source to its target.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// Where two points stand one under the other the line is straight, elsewhere it bends.
    pub points: Vec<(f64, f64)>,
    /// The middle of its label.
    pub label: Option<(f64, f64)>,
}

const GAP_X: f64 = 22.0;
const GAP_Y: f64 = 22.0;
const SWEEPS: usize = 8;

/// Something that takes a place in a row: a box, or a link that crosses the row.
struct Slot {
    size: Size,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Places boxes. The first is the start. Links of a box to itself are not drawn here.
pub(super) fn layout(sizes: &[Size], links: &[Link]) -> Layout {
    let ranks = ranks(sizes.len(), links);
    let mut slots: Vec<Slot> = sizes.iter().map(|size| Slot::new(*size)).collect();
    // Boxes stand in the even rows, labels in the odd ones.
    let height = ranks.iter().max().map_or(0, |rank| rank.saturating_mul(2).saturating_add(1));
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); height];
    for (number, rank) in ranks.iter().enumerate() {
        if let Some(row) = rows.get_mut(rank.saturating_mul(2)) {
            row.push(number);
        }
    }
    let ways: Vec<Vec<usize>> = links.iter().map(|link| way(link, &ranks, &mut slots, &mut rows)).collect();
    for way in &ways {
        for pair in way.windows(2) {
            let &[upper, lower] = pair else { continue };
            if let Some(slot) = slots.get_mut(upper) {
                slot.below.push(lower);
            }
            if let Some(slot) = slots.get_mut(lower) {
                slot.above.push(upper);
            }
        }
    }
    order(&mut slots, &mut rows);
    place(&mut slots, &rows);
    draw(sizes.len(), links, &ranks, &slots, &rows, &ways)
}

impl Slot {
    fn new(size: Size) -> Self {
        Self { size, x: 0.0, above: Vec::new(), below: Vec::new() }
    }
}

/// The row of each box: one below the lowest that leads to it, where links that close a circle do not count.
fn ranks(count: usize, links: &[Link]) -> Vec<usize> {
    let mut forward: Vec<Vec<usize>> = vec![Vec::new(); count];
    for link in links.iter().filter(|link| link.from != link.to) {
        if let Some(targets) = forward.get_mut(link.from) {
            targets.push(link.to);
        }
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; count];
    let mut finished = Vec::with_capacity(count);
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for root in 0..count {
        let mut path = vec![(root, 0_usize)];
        if marks.get(root) != Some(&Mark::New) {
            continue;
        }
        while let Some((at, next)) = path.pop() {
            if let Some(mark) = marks.get_mut(at) {
                *mark = Mark::Open;
            }
            let target = forward.get(at).and_then(|targets| targets.get(next)).copied();
            let Some(target) = target else {
                if let Some(mark) = marks.get_mut(at) {
                    *mark = Mark::Done;
                }
                finished.push(at);
                continue;
            };
            path.push((at, next.saturating_add(1)));
            match marks.get(target) {
                Some(Mark::New) => {
                    kept.push((at, target));
                    path.push((target, 0));
                }
                Some(Mark::Done) => kept.push((at, target)),
                Some(Mark::Open) | None => {}
            }
        }
    }
    let mut targets: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in kept {
        if let Some(list) = targets.get_mut(from) {
            list.push(to);
        }
    }
    let mut ranks = vec![0_usize; count];
    for at in finished.into_iter().rev() {
        let below = ranks.get(at).copied().unwrap_or(0).saturating_add(1);
        for target in targets.get(at).into_iter().flatten() {
            if let Some(rank) = ranks.get_mut(*target) {
                *rank = (*rank).max(below);
            }
        }
    }
    ranks
}

/// The slots of a link from top to bottom, the two boxes included.
fn way(link: &Link, ranks: &[usize], slots: &mut Vec<Slot>, rows: &mut [Vec<usize>]) -> Vec<usize> {
    let rank = |number: usize| ranks.get(number).copied().unwrap_or(0).saturating_mul(2);
    let (from, to) = (rank(link.from), rank(link.to));
    if from == to {
        return Vec::new();
    }
    let (upper, lower) = if from < to { (link.from, link.to) } else { (link.to, link.from) };
    // The label stands next to the source, where the choice is made.
    let labelled = if from < to { from.saturating_add(1) } else { from.saturating_sub(1) };
    let mut way = vec![upper];
    for number in from.min(to).saturating_add(1)..from.max(to) {
        let size = link.label.filter(|_| number == labelled).unwrap_or(Size { width: 2.0, height: 0.0 });
        let slot = slots.len();
        slots.push(Slot::new(size));
        if let Some(row) = rows.get_mut(number) {
            row.push(slot);
        }
        way.push(slot);
    }
    way.push(lower);
    way
}

/// Orders each row by the middle of what its slots are linked to, so that few lines cross.
fn order(slots: &mut [Slot], rows: &mut [Vec<usize>]) {
    let mut position = vec![0.0_f64; slots.len()];
    let set = |row: &[usize], position: &mut Vec<f64>| {
        for (index, slot) in row.iter().enumerate() {
            if let (Some(place), Ok(index)) = (position.get_mut(*slot), u32::try_from(index)) {
                *place = f64::from(index);
            }
        }
    };
    for row in rows.iter() {
        set(row, &mut position);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let count = rows.len();
        for step in 0..count {
            let number = if down { step } else { count.saturating_sub(step).saturating_sub(1) };
            let Some(row) = rows.get_mut(number) else { continue };
            let middle = |slot: usize| {
                let linked = slots.get(slot).map(|slot| if down { &slot.above } else { &slot.below });
                mean(linked.into_iter().flatten().filter_map(|other| position.get(*other).copied()))
                    .or_else(|| position.get(slot).copied())
                    .unwrap_or(0.0)
            };
            row.sort_by(|a, b| middle(*a).total_cmp(&middle(*b)));
            set(row, &mut position);
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Gives each slot the middle of its place: near what it is linked to, and never over its neighbours.
fn place(slots: &mut [Slot], rows: &[Vec<usize>]) {
    for row in rows {
        let wanted: Vec<f64> = row.iter().map(|_| 0.0).collect();
        spread(slots, row, &wanted);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        for step in 0..rows.len() {
            let number = if down { step } else { rows.len().saturating_sub(step).saturating_sub(1) };
            let Some(row) = rows.get(number) else { continue };
            let wanted: Vec<f64> = row
                .iter()
                .map(|slot| {
                    let Some(slot) = slots.get(*slot) else { return 0.0 };
                    let near = if down { &slot.above } else { &slot.below };
                    mean(near.iter().filter_map(|other| slots.get(*other).map(|other| other.x))).unwrap_or(slot.x)
                })
                .collect();
            spread(slots, row, &wanted);
        }
    }
    let left = slots.iter().map(|slot| slot.x - slot.size.width / 2.0).fold(f64::INFINITY, f64::min);
    if left.is_finite() {
        for slot in slots.iter_mut() {
            slot.x -= left;
        }
    }
}

/// The mean of the leftmost and the rightmost way to keep the distances: both keep them, so does their mean.
fn spread(slots: &mut [Slot], row: &[usize], wanted: &[f64]) {
    let half = |slot: &usize| slots.get(*slot).map_or(0.0, |slot| slot.size.width / 2.0);
    let mut from_left = Vec::with_capacity(row.len());
    let mut edge = f64::NEG_INFINITY;
    for (slot, wanted) in row.iter().zip(wanted) {
        let x = wanted.max(edge + half(slot));
        from_left.push(x);
        edge = x + half(slot) + GAP_X;
    }
    let mut from_right = Vec::with_capacity(row.len());
    let mut edge = f64::INFINITY;
    for (slot, wanted) in row.iter().zip(wanted).rev() {
        let x = wanted.min(edge - half(slot));
        from_right.push(x);
        edge = x - half(slot) - GAP_X;
    }
    let means: Vec<f64> = from_left.iter().zip(from_right.iter().rev()).map(|(a, b)| f64::midpoint(*a, *b)).collect();
    for (slot, x) in row.iter().zip(means) {
        if let Some(slot) = slots.get_mut(*slot) {
            slot.x = x;
        }
    }
}

fn draw(
    boxes: usize,
    links: &[Link],
    ranks: &[usize],
    slots: &[Slot],
    rows: &[Vec<usize>],
    ways: &[Vec<usize>],
) -> Layout {
    let mut layout = Layout { boxes: vec![(0.0, 0.0); boxes], ..Layout::default() };
    // Of each slot: its upper side, its lower side, and the lower side of its row, above which no line may bend.
    let mut spans = vec![(0.0_f64, 0.0_f64, 0.0_f64); slots.len()];
    let mut top = 0.0;
    for row in rows {
        let height = row.iter().filter_map(|slot| slots.get(*slot)).map(|slot| slot.size.height).fold(0.0, f64::max);
        for number in row {
            let Some(slot) = slots.get(*number) else { continue };
            layout.width = layout.width.max(slot.x + slot.size.width / 2.0);
            if let Some(corner) = layout.boxes.get_mut(*number) {
                *corner = (slot.x - slot.size.width / 2.0, top);
            }
            if let Some(span) = spans.get_mut(*number) {
                *span = (top, top + slot.size.height, top + height);
            }
        }
        layout.height = top + height;
        top += height + GAP_Y;
    }
    let ports = ports(slots, ways);
    for ((link, way), (leaves, arrives)) in links.iter().zip(ways).zip(ports) {
        let mut line = Line::default();
        let at = |number: &usize| slots.get(*number).zip(spans.get(*number));
        for (index, number) in way.iter().enumerate() {
            let Some((slot, (upper, lower, row))) = at(number) else { continue };
            if index == 0 {
                line.points.push((slot.x + leaves, *lower));
                if row > lower {
                    line.points.push((slot.x + leaves, *row));
                }
            } else if index.saturating_add(1) == way.len() {
                line.points.push((slot.x + arrives, *upper));
            } else {
                line.points.extend([(slot.x, *upper), (slot.x, *row)]);
                if slot.size.height > 0.0 {
                    line.label = Some((slot.x, f64::midpoint(*upper, *lower)));
                }
            }
        }
        if ranks.get(link.from) > ranks.get(link.to) {
            line.points.reverse();
        }
        layout.lines.push(line);
    }
    layout
}

/// How far from the middle of its box each link leaves the lower side and arrives at the upper side, so that lines of one
/// side stand apart, in the order of where they go.
fn ports(slots: &[Slot], ways: &[Vec<usize>]) -> Vec<(f64, f64)> {
    let mut ports = vec![(0.0, 0.0); ways.len()];
    for at_upper in [true, false] {
        let mut sides: std::collections::BTreeMap<usize, Vec<(f64, usize)>> = std::collections::BTreeMap::new();
        for (link, way) in ways.iter().enumerate() {
            let ends = if at_upper { way.first().zip(way.get(1)) } else { way.last().zip(way.iter().rev().nth(1)) };
            let Some((own, next)) = ends else { continue };
            let x = slots.get(*next).map_or(0.0, |slot| slot.x);
            sides.entry(*own).or_default().push((x, link));
        }
        for (own, mut side) in sides {
            side.sort_by(|a, b| a.0.total_cmp(&b.0));
            let width = slots.get(own).map_or(0.0, |slot| slot.size.width);
            let count = u32::try_from(side.len()).map_or(1.0, f64::from);
            let apart = (width * 0.8 / count).min(16.0);
            let mut offset = -apart * (count - 1.0) / 2.0;
            for (_, link) in side {
                if let Some(port) = ports.get_mut(link) {
                    *(if at_upper { &mut port.0 } else { &mut port.1 }) = offset;
                }
                offset += apart;
            }
        }
    }
    ports
}

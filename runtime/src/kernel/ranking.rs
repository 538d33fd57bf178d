//! The nearest few of a bank, in order.

#[cfg(assembly)]
use core::marker::PhantomData;

use heapless::Vec;

/// A prototype and how far it is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ranked {
    /// Position in the bank.
    pub prototype: u32,
    /// Squared distance in embedding space, in grid units.
    pub squared_distance: u32,
}

/// Farther than any prototype: a squared distance stays below `256 * (1,023 + 128)^2`.
const FREE: Ranked = Ranked { prototype: u32::MAX, squared_distance: u32::MAX };

/// The least `K` so far, in order; free places hold [`FREE`].
#[repr(C)]
pub(crate) struct Ranking<const K: usize> {
    /// Nearer than any: a routine in assembly that moves places on need not look for the first.
    before: Ranked,
    places: [Ranked; K],
}

impl<const K: usize> Ranking<K> {
    pub(crate) fn new() -> Self {
        let before = Ranked { prototype: 0, squared_distance: 0 };
        Ranking { before, places: [FREE; K] }
    }

    /// What a newcomer must be nearer than.
    pub(crate) fn limit(&self) -> u32 {
        self.places.last().map_or(0, |last| last.squared_distance)
    }

    /// Behind all that are not farther; what stood last falls out.
    pub(crate) fn insert(&mut self, newcomer: Ranked) {
        let mut places = self.places.iter_mut().rev();
        let Some(mut hole) = places.next() else {
            return;
        };
        for place in places {
            if newcomer.squared_distance >= place.squared_distance {
                break;
            }
            *hole = *place;
            hole = place;
        }
        *hole = newcomer;
    }

    /// The places as a routine in assembly fills them; `None` where there are none.
    #[cfg(assembly)]
    pub(super) fn last(&mut self) -> Option<Last<'_>> {
        let before = (&raw mut *self).cast::<Ranked>();
        (K > 0).then(|| Last { place: before.wrapping_add(K), borrow: PhantomData })
    }

    /// The places that are taken.
    #[cfg(assembly)]
    pub(super) fn taken(&mut self) -> impl Iterator<Item = &mut Ranked> {
        self.places.iter_mut().filter(|place| **place != FREE)
    }

    pub(crate) fn finish(self) -> Vec<Ranked, K> {
        crate::first_items(self.places.into_iter().filter(|place| *place != FREE))
    }
}

/// The last of a ranking's places as a routine in assembly takes it. Before it lie the others in order of distance, and
/// before those an entry at distance 0; all of them are borrowed alone.
///
/// A routine inserts every vector that is nearer than the last place, and names it by the address behind it.
#[cfg(assembly)]
pub(super) struct Last<'r> {
    place: *mut Ranked,
    borrow: PhantomData<&'r mut Ranked>,
}

#[cfg(assembly)]
impl Last<'_> {
    pub(super) fn pointer(&self) -> *mut Ranked {
        self.place
    }
}

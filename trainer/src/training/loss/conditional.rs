//! Heads that go on with a stack of their own on `[h, theta]`, in training.

use std::ops::Range;

use super::super::HeadSpec;
use super::super::examples::Examples;
use super::super::ratio::Tail;
use super::flow::FlowHead;
use super::ratio::RatioHead;

/// A head with a stack, in training.
#[derive(Debug)]
pub(in super::super) struct ConditionalHead {
    /// Position among the heads.
    pub head: usize,
    /// Its loss.
    pub loss: Box<dyn StackLoss>,
}

/// Some rows of a batch, and the outputs of all heads for them.
#[derive(Clone, Copy)]
pub(in super::super) struct Block<'b> {
    pub examples: &'b Examples,
    pub rows: &'b Range<usize>,
    pub outputs: &'b [f32],
    pub d_output: usize,
}

/// The loss of a head with a stack, and its gradient.
pub(in super::super) trait StackLoss: std::fmt::Debug + Send {
    /// The stack.
    fn tail(&self) -> &Tail;

    /// Running averages, for a checkpoint.
    fn averages(&self) -> [f64; 2] {
        [0.0; 2]
    }

    /// Goes on from [`StackLoss::averages`].
    fn restore(&mut self, _: [f64; 2]) {}

    /// Before the first block of a batch.
    fn begin(&mut self, step: u64);

    /// Adds a block's loss, a sum weighted by the examples' weights, to `sum`, and its part of the gradient by `parameters` to `self`; writes to
    /// `by_output` the derivative by the head's columns, both of a batch of weight `batch_weight`.
    fn add(
        &mut self,
        parameters: &[f32],
        block: Block<'_>,
        batch_weight: f32,
        by_output: &mut [f32],
        sum: &mut f64,
    );

    /// Behind the last block of a batch: the gradient by the parameters.
    fn end(&mut self, gradient: &mut [f32]);

    /// Takes the batch's gradients into the averages.
    fn learn(&mut self) {}

    /// The loss of a block, a sum weighted by the examples' weights.
    fn evaluate(&mut self, parameters: &[f32], block: Block<'_>) -> f64;
}

impl ConditionalHead {
    /// Those of `specs` that have a stack, in order.
    pub fn all(specs: &[HeadSpec]) -> Vec<ConditionalHead> {
        let mut first = 0;
        let mut heads = Vec::new();
        for (head, spec) in specs.iter().enumerate() {
            let columns = first..first + spec.d_output();
            first = columns.end;
            let ratio = RatioHead::new(spec, columns.clone());
            let ratio = ratio.map(|loss| -> Box<dyn StackLoss> { Box::new(loss) });
            let flow =
                || -> Option<Box<dyn StackLoss>> { Some(Box::new(FlowHead::new(spec, columns)?)) };
            heads.extend(ratio.or_else(flow).map(|loss| ConditionalHead { head, loss }));
        }
        heads
    }

    /// Number of parameters of the stack.
    pub fn len(&self) -> usize {
        self.loss.tail().shape().parameters()
    }
}

/// Adds `scale` times each of `values`.
pub(super) fn add(sum: &mut [f32], values: &[f32], scale: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += scale * value);
}

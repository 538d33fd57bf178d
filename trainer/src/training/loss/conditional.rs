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
    head: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Ratio(Box<RatioHead>),
    Flow(Box<FlowHead>),
}

/// Some rows of a batch, and the outputs of all heads for them.
#[derive(Clone, Copy)]
pub(in super::super) struct Block<'b> {
    pub examples: &'b Examples,
    pub rows: &'b Range<usize>,
    pub outputs: &'b [f32],
    pub d_output: usize,
}

impl ConditionalHead {
    /// Those of `specs` that have a stack, in order.
    pub fn all(specs: &[HeadSpec]) -> Vec<ConditionalHead> {
        let mut first = 0;
        let mut heads = Vec::new();
        for (head, spec) in specs.iter().enumerate() {
            let columns = first..first + spec.d_output();
            first = columns.end;
            let ratio = RatioHead::new(spec, columns.clone()).map(|head| Kind::Ratio(head.into()));
            let flow = || FlowHead::new(spec, columns).map(|head| Kind::Flow(head.into()));
            heads.extend(ratio.or_else(flow).map(|kind| ConditionalHead { head, kind }));
        }
        heads
    }

    /// Position among the heads.
    pub fn head(&self) -> usize {
        self.head
    }

    /// Number of parameters of the stack.
    pub fn len(&self) -> usize {
        self.tail().shape().parameters()
    }

    /// The stack.
    pub fn tail(&self) -> &Tail {
        match &self.kind {
            Kind::Ratio(head) => head.tail(),
            Kind::Flow(head) => head.tail(),
        }
    }

    /// Running averages, for a checkpoint.
    pub fn averages(&self) -> [f64; 2] {
        match &self.kind {
            Kind::Ratio(head) => head.averages(),
            Kind::Flow(_) => [0.0; 2],
        }
    }

    /// Goes on from [`ConditionalHead::averages`].
    pub fn restore(&mut self, averages: [f64; 2]) {
        if let Kind::Ratio(head) = &mut self.kind {
            head.restore(averages);
        }
    }

    /// Before the first block of a batch.
    pub fn begin(&mut self, step: u64) {
        match &mut self.kind {
            Kind::Ratio(head) => head.begin(step),
            Kind::Flow(head) => head.begin(step),
        }
    }

    /// Adds a block's loss, a sum weighted by the examples' weights, to `sum`, and its part of the gradient by `parameters` to `self`; writes to
    /// `by_output` the derivative by the head's columns, both of a batch of weight `batch_weight`.
    pub fn add(
        &mut self,
        parameters: &[f32],
        block: Block<'_>,
        batch_weight: f32,
        by_output: &mut [f32],
        sum: &mut f64,
    ) {
        match &mut self.kind {
            Kind::Ratio(head) => head.add(parameters, block, batch_weight, by_output, sum),
            Kind::Flow(head) => head.add(parameters, block, batch_weight, by_output, sum),
        }
    }

    /// Behind the last block of a batch: the gradient by the parameters.
    pub fn end(&mut self, gradient: &mut [f32]) {
        match &mut self.kind {
            Kind::Ratio(head) => head.end(gradient),
            Kind::Flow(head) => head.end(gradient),
        }
    }

    /// Takes the batch's gradients into the averages.
    pub fn learn(&mut self) {
        if let Kind::Ratio(head) = &mut self.kind {
            head.learn();
        }
    }

    /// The loss of a block, a sum weighted by the examples' weights.
    pub fn evaluate(&mut self, parameters: &[f32], block: Block<'_>) -> f64 {
        match &mut self.kind {
            Kind::Ratio(head) => head.evaluate(parameters, block),
            Kind::Flow(head) => head.evaluate(parameters, block),
        }
    }
}

/// Adds `scale` times each of `values`.
pub(super) fn add(sum: &mut [f32], values: &[f32], scale: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += scale * value);
}

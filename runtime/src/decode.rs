//! Postcard's encoding, decoded in little flash.
//!
//! Postcard decodes each value, but serde's derived code would contain a copy of that decoder for every field. Here each
//! kind of value has one decoder that is called, and a failure carries nothing that would have to be made.

use core::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};

/// The value at the begin of `bytes`, and what follows it; `None` where they do not decode.
pub(crate) fn take<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Option<(T, &'de [u8])> {
    let mut decoder = Decoder { rest: bytes };
    let value = T::deserialize(&mut decoder).ok()?;
    Some((value, decoder.rest))
}

/// Whether `bytes` are `count` records and nothing else; `after` gives what follows the first record.
///
/// One loop for every type of record.
#[inline(never)]
pub(crate) fn are_records<'de>(
    bytes: &'de [u8],
    count: u16,
    after: fn(&'de [u8]) -> Option<&'de [u8]>,
) -> bool {
    let mut rest = bytes;
    for _ in 0..count {
        match after(rest) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Stands before the next value.
struct Decoder<'de> {
    rest: &'de [u8],
}

impl<'de> Decoder<'de> {
    /// A value of one kind, by postcard.
    #[inline(never)]
    fn value<T: Deserialize<'de>>(&mut self) -> Result<T, Undecodable> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|_| Undecodable)?;
        self.rest = rest;
        Ok(value)
    }

    /// A length and as many bytes. Postcard takes lengths of as many bits as the machine's addresses have, but a file must
    /// not decode on one machine alone: 32 bits everywhere.
    #[inline(never)]
    fn bytes(&mut self) -> Result<&'de [u8], Undecodable> {
        let length = usize::try_from(self.value::<u32>()?).map_err(|_| Undecodable)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Undecodable)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(never)]
    fn text(&mut self) -> Result<&'de str, Undecodable> {
        core::str::from_utf8(self.bytes()?).map_err(|_| Undecodable)
    }
}

/// The bytes do not decode. Where and why is not said: an artifact that its checksum covers was written so.
#[derive(Debug)]
struct Undecodable;

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("undecodable")
    }
}

impl core::error::Error for Undecodable {}

impl de::Error for Undecodable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Undecodable
    }
    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Undecodable
    }
    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Undecodable
    }
}

macro_rules! value {
    ($($deserialize:ident, $visit:ident;)+) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
            visitor.$visit(self.value()?)
        })+
    };
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = Undecodable;

    fn is_human_readable(&self) -> bool {
        false
    }

    // The encoding does not say what follows.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Undecodable> {
        Err(Undecodable)
    }

    // No type of the manifest has these; lists are `Records`.
    serde::forward_to_deserialize_any! {
        char i128 u128 string byte_buf unit unit_struct seq map identifier ignored_any
    }

    value! {
        deserialize_bool, visit_bool;
        deserialize_i8, visit_i8;
        deserialize_i16, visit_i16;
        deserialize_i32, visit_i32;
        deserialize_i64, visit_i64;
        deserialize_u8, visit_u8;
        deserialize_u16, visit_u16;
        deserialize_u32, visit_u32;
        deserialize_u64, visit_u64;
        deserialize_f32, visit_f32;
        deserialize_f64, visit_f64;
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        match self.value::<Option<()>>()? {
            Some(()) => visitor.visit_some(self),
            None => visitor.visit_none(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_newtype_struct(self)
    }

    // The derived code knows how many fields it asks for.
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_seq(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_seq(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_enum(self)
    }
}

impl<'de> de::SeqAccess<'de> for &mut Decoder<'de> {
    type Error = Undecodable;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Undecodable> {
        seed.deserialize(&mut **self).map(Some)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Decoder<'de> {
    type Error = Undecodable;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), Undecodable> {
        let variant = self.value::<u32>()?;
        Ok((seed.deserialize(variant.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Decoder<'de> {
    type Error = Undecodable;

    fn unit_variant(self) -> Result<(), Undecodable> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Undecodable> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Undecodable> {
        visitor.visit_seq(self)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_seq(self)
    }
}

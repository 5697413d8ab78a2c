//! Messages as bytes. A message that cannot be read is its sender's mistake, and is told so.

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Reads `Q`, writes `A`.
pub(crate) struct Messages<Q, A>(PhantomData<(Q, A)>);

impl<Q, A> Default for Messages<Q, A> {
    fn default() -> Self {
        Messages(PhantomData)
    }
}

pub(crate) struct Reader<Q>(PhantomData<Q>);
pub(crate) struct Writer<A>(PhantomData<A>);

impl<Q: Message + Default + 'static, A: Message + 'static> Codec for Messages<Q, A> {
    type Encode = A;
    type Decode = Q;
    type Encoder = Writer<A>;
    type Decoder = Reader<Q>;

    fn encoder(&mut self) -> Writer<A> {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> Reader<Q> {
        Reader(PhantomData)
    }
}

impl<A: Message> Encoder for Writer<A> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, message: A, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<Q: Message + Default> Decoder for Reader<Q> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Q>, Status> {
        Q::decode(buffer).map(Some).map_err(|error| Status::invalid_argument(format!("the message could not be read: {error}")))
    }
}

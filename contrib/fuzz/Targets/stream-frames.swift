public import Fuzzing
import NIOCore
import NIOEmbedded
import OverlayModel

@testable import OverlayGossip

/// A stream in pieces. The first byte tells their length.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let frames: [[UInt8]] = [[], [1, 2, 3], [UInt8](repeating: 1, count: 500)]
    let stream = frames.flatMap { UInt32($0.count).wireBytes + $0 }
    let long = UInt32(5000).wireBytes
    let front = [UInt8](repeating: 1, count: 60)
    return Target(seeds: [[0] + stream, [1] + stream, [100] + stream, [3] + long + front, [9] + long + stream], run: run)
}

// One channel for all runs, each of which has a handler of its own.
nonisolated(unsafe) private let channel = EmbeddedChannel()

private func run(_ bytes: [UInt8]) {
    guard let piece = bytes.first else { return }
    let stream = Array(bytes.dropFirst())
    let pipeline = channel.pipeline.syncOperations
    let handler = ByteToMessageHandler(FrameDecoder(mayBeLong: { piece.isMultiple(of: 2) }), maximumBufferSize: Limits.frameBytes + 4)
    require((try? pipeline.addHandler(handler)) != nil, "the decoder is added")
    var position = 0
    while position < stream.count {
        let end = min(stream.count, position + Int(piece) + 1)
        guard (try? channel.writeInbound(ByteBuffer(bytes: stream[position..<end]))) != nil else { break }
        position = end
    }
    // The frames must be those of the stream, in order.
    var reader = ByteReader(stream)
    while let frame = try? channel.readInbound(as: ByteBuffer.self) {
        require((try? reader.sized(limit: Limits.frameBytes)) == Array(frame.readableBytesView), "a frame is as it was sent")
    }
    _ = pipeline.removeHandler(handler)
    channel.embeddedEventLoop.run()
    // Bytes left over when the decoder was removed.
    while (try? channel.readInbound(as: ByteBuffer.self)) != nil {}
    _ = try? channel.throwIfErrorCaught()
}

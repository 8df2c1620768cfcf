import NIOCore

/// Lines of a byte stream: the engine ends every event with one newline, and pieces have any size.
struct EventLines {
    /// Longest event, in bytes.
    static let limit = 1 << 20

    private var bytes = ByteBuffer()
    /// Number of bytes after the reader index that are known to hold no newline.
    private var searched = 0
    /// True while the rest of a line that is too long is skipped.
    private var isSkipping = false

    mutating func append(_ piece: ByteBuffer) {
        bytes.discardReadBytes()
        bytes.writeImmutableBuffer(piece)
    }

    /// Next whole line without its newline; nil until more bytes come. A line that is too long is left out.
    mutating func next() -> ByteBuffer? {
        while true {
            let unsearched = bytes.readableBytesView.dropFirst(searched)
            guard let newline = unsearched.firstIndex(of: UInt8(ascii: "\n")) else {
                searched = bytes.readableBytes
                if searched > Self.limit {
                    bytes.clear()
                    searched = 0
                    isSkipping = true
                }
                return nil
            }
            let length = newline - bytes.readerIndex
            searched = 0
            let line = bytes.readSlice(length: length)
            bytes.moveReaderIndex(forwardBy: 1)
            let isSkipped = isSkipping || length > Self.limit
            isSkipping = false
            if !isSkipped, let line, line.readableBytesView.contains(where: { $0 > 0x20 }) { return line }
        }
    }
}

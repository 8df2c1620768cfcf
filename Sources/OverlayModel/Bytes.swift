/// Reason why bytes did not decode. It carries no content of the message, which may be hostile.
public enum DecodeError: Error, Equatable, Sendable {
    /// Fewer bytes were left than the field needs.
    case truncated
    /// A count or length is above the limit of its field.
    case tooLong(limit: Int)
    /// A value has no meaning for its field (an unknown tag, a prefix longer than its address, bad UTF-8).
    case invalid(String)
    /// Bytes were left after the last field.
    case trailingBytes
}

/// A bounds-checked cursor over received bytes. Integers are big-endian. No input can make it trap.
public struct ByteReader: Sendable {
    @usableFromInline let bytes: [UInt8]
    @usableFromInline var position: Int
    @usableFromInline let end: Int

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
        self.position = 0
        self.end = bytes.count
    }

    /// Bytes not read yet.
    @inlinable public var remaining: Int { end - position }

    @inlinable
    public mutating func byte() throws(DecodeError) -> UInt8 {
        guard position < end else { throw .truncated }
        defer { position += 1 }
        return bytes[position]
    }

    // Inlinable like its counterparts: unspecialised generic code would cost more than everything else in a message.
    @inlinable
    public mutating func integer<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type = T.self) throws(DecodeError) -> T {
        let width = T.bitWidth / 8
        guard remaining >= width else { throw .truncated }
        var value: T = 0
        for offset in 0..<width {
            value = T.bitWidth == 8 ? T(bytes[position + offset]) : (value << 8) | T(bytes[position + offset])
        }
        position += width
        return value
    }

    /// A number that counts events: below ``Limits/counter``.
    public mutating func counter() throws(DecodeError) -> UInt64 {
        let value: UInt64 = try integer()
        guard value < Limits.counter else { throw .invalid("counter") }
        return value
    }

    /// A number that is mostly small: seven bits a byte, the lowest first (LEB128). Each has a single form.
    public mutating func compact() throws(DecodeError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 63, by: 7) {
            let byte = try byte()
            guard shift == 0 || byte != 0 else { throw .invalid("number") }
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        throw .invalid("number")
    }

    /// Takes exactly `count` bytes.
    public mutating func take(_ count: Int) throws(DecodeError) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// A 32-bit length, checked against `limit` and against what is left before anything is allocated, then that many bytes.
    public mutating func sized(limit: Int) throws(DecodeError) -> [UInt8] {
        let count = Int(try integer(UInt32.self))
        guard count <= limit else { throw .tooLong(limit: limit) }
        return try take(count)
    }

    public mutating func string(limit: Int = Limits.stringBytes) throws(DecodeError) -> String {
        let raw = try sized(limit: limit)
        guard let text = String(validating: raw, as: UTF8.self) else { throw .invalid("UTF-8") }
        return text
    }

    /// A 32-bit count, then that many values. The count is bounded by `limit` and by the bytes that are left, as each value takes
    /// at least one.
    public mutating func list<T: Wire>(_ type: T.Type = T.self, limit: Int = Limits.listCount) throws(DecodeError) -> [T] {
        let count = Int(try integer(UInt32.self))
        guard count <= limit else { throw .tooLong(limit: limit) }
        guard count <= remaining else { throw .truncated }
        var values: [T] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try T(from: &self)) }
        return values
    }

    public mutating func value<T: Wire>(_ type: T.Type = T.self) throws(DecodeError) -> T { try T(from: &self) }

    public mutating func optional<T: Wire>(_ type: T.Type = T.self) throws(DecodeError) -> T? {
        try bool() ? try T(from: &self) : nil
    }

    public mutating func bool() throws(DecodeError) -> Bool {
        switch try byte() {
        case 0: return false
        case 1: return true
        default: throw .invalid("boolean")
        }
    }

    /// All bytes that are left.
    public mutating func rest() -> [UInt8] {
        defer { position = end }
        return Array(bytes[position..<end])
    }

    public func finish() throws(DecodeError) {
        guard remaining == 0 else { throw .trailingBytes }
    }
}

/// Appends fields to one growing buffer, in the form that ``ByteReader`` reads.
public struct ByteWriter: Sendable {
    @usableFromInline var storage: [UInt8] = []
    public var bytes: [UInt8] { storage }

    public init() {}

    @inlinable
    public mutating func byte(_ value: UInt8) { storage.append(value) }

    @inlinable
    public mutating func integer<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
        var shift = T.bitWidth - 8
        while shift >= 0 {
            storage.append(UInt8(truncatingIfNeeded: value >> T(shift)))
            shift -= 8
        }
    }

    /// - Precondition: Below 2⁶³.
    public mutating func compact(_ value: UInt64) {
        precondition(value >> 63 == 0, "\(value) has 64 bits")
        var rest = value
        while rest >= 0x80 {
            storage.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        storage.append(UInt8(truncatingIfNeeded: rest))
    }

    public mutating func raw(_ value: some Collection<UInt8>) { storage.append(contentsOf: value) }

    public mutating func sized(_ value: some Collection<UInt8>) {
        integer(UInt32(value.count))
        storage.append(contentsOf: value)
    }

    public mutating func string(_ value: String) { sized(value.utf8) }

    public mutating func bool(_ value: Bool) { storage.append(value ? 1 : 0) }

    public mutating func list(_ values: some Collection<some Wire>) {
        integer(UInt32(values.count))
        for value in values { value.encode(to: &self) }
    }

    public mutating func value(_ value: some Wire) { value.encode(to: &self) }

    public mutating func optional(_ value: (some Wire)?) {
        bool(value != nil)
        value?.encode(to: &self)
    }
}

/// A value with one byte form, used on the wire and in the store.
public protocol Wire: Sendable {
    init(from reader: inout ByteReader) throws(DecodeError)
    func encode(to writer: inout ByteWriter)
}

extension Wire {
    /// Decodes a value that fills `bytes` exactly.
    public init(wire bytes: [UInt8]) throws(DecodeError) {
        var reader = ByteReader(bytes)
        try self.init(from: &reader)
        try reader.finish()
    }

    public var wireBytes: [UInt8] {
        var writer = ByteWriter()
        encode(to: &writer)
        return writer.bytes
    }
}

extension UInt16: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) { self = try reader.integer() }
    public func encode(to writer: inout ByteWriter) { writer.integer(self) }
}

extension UInt32: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) { self = try reader.integer() }
    public func encode(to writer: inout ByteWriter) { writer.integer(self) }
}

extension UInt64: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) { self = try reader.integer() }
    public func encode(to writer: inout ByteWriter) { writer.integer(self) }
}

extension String: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) { self = try reader.string() }
    public func encode(to writer: inout ByteWriter) { writer.string(self) }
}

public import OverlayModel

/// Secret that a joining node must know.
public struct JoinSecret: Hashable, Sendable {
    /// 16 bytes, never logged.
    public var secret: [UInt8]
    /// Expiry in Unix seconds; 0 means never.
    public var expires: UInt64

    public init(secret: [UInt8], expires: UInt64) {
        self.secret = secret
        self.expires = expires
    }
}

extension JoinSecret: Wire {
    static let bytes = 16

    public init(from reader: inout ByteReader) throws(DecodeError) {
        secret = try reader.sized(limit: Self.bytes)
        expires = try reader.integer()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.sized(secret)
        writer.integer(expires)
    }
}

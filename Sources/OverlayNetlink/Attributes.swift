import CNetlink
import OverlayModel

/// Bounds-checked view of received bytes, valid only inside the callback that it is passed to.
struct Received {
    let bytes: UnsafeRawBufferPointer

    /// Fixed header or scalar at `offset`; nil if it does not fit.
    func load<T: BitwiseCopyable>(_ type: T.Type = T.self, at offset: Int = 0) -> T? {
        guard offset >= 0, bytes.count - offset >= MemoryLayout<T>.size else { return nil }
        return bytes.loadUnaligned(fromByteOffset: offset, as: T.self)
    }

    /// View without the first `count` bytes.
    func dropping(_ count: Int) -> Received {
        guard count < bytes.count else { return Received(bytes: UnsafeRawBufferPointer(start: nil, count: 0)) }
        return Received(bytes: UnsafeRawBufferPointer(rebasing: bytes[count...]))
    }

    /// Calls `body` with each attribute (`nlattr`: length, type, value, padding to 4); stops at the first that does not fit.
    func forEachAttribute(_ body: (Int, Received) -> Void) {
        var position = 0
        while let length: UInt16 = load(at: position), let type: UInt16 = load(at: position + 2) {
            let end = position + Int(length)
            guard length >= 4, end <= bytes.count else { return }
            body(Int(type) & 0x3FFF, Received(bytes: UnsafeRawBufferPointer(rebasing: bytes[(position + 4)..<end])))
            position = (end + 3) & ~3
        }
    }

    /// Text up to the first zero byte.
    var text: String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }

    var mac: MACAddress? {
        guard bytes.count == 6, let high: UInt16 = load(), let low: UInt32 = load(at: 2) else { return nil }
        return MACAddress(bits: UInt64(UInt16(bigEndian: high)) << 32 | UInt64(UInt32(bigEndian: low)))
    }

    var address: IPAddress? {
        switch bytes.count {
        case 4: load(UInt32.self).map { IPAddress(family: .v4, bits: UInt128(UInt32(bigEndian: $0))) }
        case 16: load(UInt128.self).map { IPAddress(family: .v6, bits: UInt128(bigEndian: $0)) }
        default: nil
        }
    }
}

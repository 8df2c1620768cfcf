import CNetlink
import Glibc
import OverlayModel

/// Netlink request under construction, the only owner of a libnl message.
///
/// Every return code of libnl is checked: if a setter failed silently, the request would lack an attribute and mean something else.
struct Message: ~Copyable {
    private let raw: OpaquePointer

    /// Creates a request with its fixed header (`ifinfomsg`, `ndmsg`, …).
    init<Header: BitwiseCopyable>(_ type: Int, flags: Int32 = 0, _ header: Header) throws(NetlinkError) {
        guard let raw = nlmsg_alloc_simple(Int32(type), NLM_F_REQUEST | flags) else {
            throw NetlinkError(code: ENOMEM, message: "nlmsg_alloc")
        }
        let result = withUnsafePointer(to: header) { header in
            nlmsg_append(raw, UnsafeMutableRawPointer(mutating: header), MemoryLayout<Header>.size, Int32(NLMSG_ALIGNTO))
        }
        if result < 0 {
            nlmsg_free(raw)
            throw NetlinkError(code: 0, message: "nlmsg_append: \(Self.text(result))")
        }
        self.raw = raw
    }

    deinit { nlmsg_free(raw) }

    private static func text(_ code: Int32) -> String { nl_geterror(code).map { String(cString: $0) } ?? "error \(code)" }

    private func check(_ result: Int32, _ what: StaticString) throws(NetlinkError) {
        guard result >= 0 else { throw NetlinkError(code: 0, message: "\(what): \(Self.text(result))") }
    }

    mutating func put(_ attribute: Int, _ value: UInt32) throws(NetlinkError) {
        try check(nla_put_u32(raw, Int32(attribute), value), "nla_put_u32")
    }

    mutating func put(_ attribute: Int, _ value: UInt16) throws(NetlinkError) {
        try check(nla_put_u16(raw, Int32(attribute), value), "nla_put_u16")
    }

    mutating func put(_ attribute: Int, _ value: UInt8) throws(NetlinkError) {
        try check(nla_put_u8(raw, Int32(attribute), value), "nla_put_u8")
    }

    mutating func put(_ attribute: Int, _ value: Bool) throws(NetlinkError) { try put(attribute, UInt8(value ? 1 : 0)) }

    mutating func put(_ attribute: Int, _ value: String) throws(NetlinkError) {
        try check(nla_put_string(raw, Int32(attribute), value), "nla_put_string")
    }

    /// Adds a MAC in network order without allocating an array, as rows are mostly MACs.
    mutating func put(_ attribute: Int, _ value: MACAddress) throws(NetlinkError) {
        var bits = (value.bits << 16).bigEndian
        try check(nla_put(raw, Int32(attribute), 6, &bits), "nla_put")
    }

    mutating func put(_ attribute: Int, _ value: IPAddress) throws(NetlinkError) {
        switch value.family {
        case .v4:
            var bits = UInt32(truncatingIfNeeded: value.bits).bigEndian
            try check(nla_put(raw, Int32(attribute), 4, &bits), "nla_put")
        case .v6:
            var bits = value.bits.bigEndian
            try check(nla_put(raw, Int32(attribute), 16, &bits), "nla_put")
        }
    }

    /// Appends a header inside an attribute, such as the `ifinfomsg` of a veth's peer.
    mutating func append<Header: BitwiseCopyable>(_ header: Header) throws(NetlinkError) {
        let result = withUnsafePointer(to: header) { header in
            nlmsg_append(raw, UnsafeMutableRawPointer(mutating: header), MemoryLayout<Header>.size, Int32(NLMSG_ALIGNTO))
        }
        try check(result, "nlmsg_append")
    }

    /// Puts the attributes that `body` adds into a nested attribute.
    mutating func nest(_ attribute: Int, _ body: (inout Message) throws(NetlinkError) -> Void) throws(NetlinkError) {
        guard let start = nla_nest_start(raw, Int32(attribute)) else {
            throw NetlinkError(code: ENOMEM, message: "nla_nest_start")
        }
        try body(&self)
        try check(nla_nest_end(raw, start), "nla_nest_end")
    }

    /// Appends the finished bytes to `buffer`, with the sequence number and more flags.
    borrowing func finish(into buffer: inout [UInt8], sequence: UInt32, flags: Int32) {
        guard let header = nlmsg_hdr(raw) else { return }
        header.pointee.nlmsg_seq = sequence
        header.pointee.nlmsg_flags |= UInt16(truncatingIfNeeded: flags)
        let length = Int(header.pointee.nlmsg_len)
        buffer.append(contentsOf: UnsafeRawBufferPointer(start: header, count: length))
        let padding = (4 - length % 4) % 4
        for _ in 0..<padding { buffer.append(0) }
    }

    /// Finished bytes, for tests.
    borrowing func bytes() -> [UInt8] {
        var result: [UInt8] = []
        finish(into: &result, sequence: 0, flags: 0)
        return result
    }
}

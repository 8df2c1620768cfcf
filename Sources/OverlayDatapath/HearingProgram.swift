import OverlayModel

/// Instruction of a classic BPF program (linux/filter.h, `sock_filter`).
public struct FilterInstruction: Hashable, Sendable {
    /// Class, mode and size of the operation.
    public var code: UInt16
    /// Number of instructions to skip where a comparison holds, and where it does not.
    public var yes: UInt8 = 0
    public var no: UInt8 = 0
    /// Operand: an offset, a constant or an index.
    public var value: UInt32
}

extension Hearing {
    /// Filter for a packet socket: the number of bytes of a frame to pass, 0 for none. Frames to the container do not pass.
    ///
    /// It takes 64 instructions, and about 20 for each MAC and address that is known.
    public var program: [FilterInstruction] {
        var text = FilterText()
        text.load(byte: FilterText.packetKind)
        text.endIf(equal: FilterText.outgoing, with: 0)
        text.load(byte: 6)
        text.endIf(anyOf: 1, with: 0)
        text.load(word: 6)
        text.store(.source)
        text.load(half: 10)
        text.store(.sourceEnd)
        // The kernel takes a tag out of the frame, so that what is in it looks like an untagged one.
        text.load(half: FilterText.hasTag)
        text.skip(to: .macs, unlessEqual: 0)
        text.load(half: 12)
        text.skip(to: .macs, ifEqual: 0x8100)
        text.skip(to: .arp, ifEqual: 0x0806)
        text.skip(to: .macs, unlessEqual: 0x86DD)
        addAdvertisements(to: &text)
        text.place(.arp)
        addARP(to: &text)
        text.place(.macs)
        if isFull { text.end(with: 0) }
        for mac in macs.sorted(by: { $0.bits < $1.bits }) {
            text.compare([(.source, mac.high), (.sourceEnd, mac.low)], then: .nothing)
        }
        text.end(with: UInt32(Heard.headerBytes))
        text.place(.nothing)
        text.end(with: 0)
        return text.instructions
    }

    private func addARP(to text: inout FilterText) {
        text.load(word: 14)
        text.skip(to: .macs, unlessEqual: 0x0001_0800)
        text.load(half: 18)
        text.skip(to: .macs, unlessEqual: 0x0604)
        text.load(word: 28)
        text.skip(to: .macs, ifEqual: 0)
        text.store(.address(0))
        text.load(word: 22)
        text.store(.sender)
        text.load(half: 26)
        text.store(.senderEnd)
        for one in known.filter({ $0.address.family == .v4 }).sorted(by: { $0.address < $1.address }) {
            text.compare(
                [(.address(0), UInt32(truncatingIfNeeded: one.address.bits)), (.sender, one.mac.high), (.senderEnd, one.mac.low)],
                then: .macs)
        }
        text.end(with: UInt32(Heard.frameBytes))
    }

    private func addAdvertisements(to text: inout FilterText) {
        text.load(byte: 20)
        text.skip(to: .macs, unlessEqual: 58)
        text.load(byte: 54)
        text.skip(to: .macs, unlessEqual: 136)
        // Link-local addresses (RFC 4291 §2.5.6) are of no subnet of ours.
        text.load(half: 62)
        text.and(0xFFC0)
        text.skip(to: .macs, ifEqual: 0xFE80)
        for part in 0..<4 {
            text.load(word: 62 + 4 * UInt32(part))
            text.store(.address(part))
        }
        for one in known.filter({ $0.address.family == .v6 }).sorted(by: { $0.address < $1.address }) {
            let parts = (0..<4).map { part in
                (FilterText.Slot.address(part), UInt32(truncatingIfNeeded: one.address.bits >> UInt128(32 * (3 - part))))
            }
            text.compare(parts + [(.source, one.mac.high), (.sourceEnd, one.mac.low)], then: .macs)
        }
        text.end(with: UInt32(Heard.frameBytes))
    }
}

extension MACAddress {
    fileprivate var high: UInt32 { UInt32(truncatingIfNeeded: bits >> 16) }
    fileprivate var low: UInt32 { UInt32(truncatingIfNeeded: bits & 0xFFFF) }
}

/// A program while it is written. Long jumps go to marks that are placed later.
private struct FilterText {
    enum Mark { case arp, macs, nothing }

    /// Word of scratch memory.
    enum Slot {
        case source, sourceEnd, sender, senderEnd
        case address(Int)

        var index: UInt32 {
            switch self {
            case .source: 0
            case .sourceEnd: 1
            case .sender: 2
            case .senderEnd: 3
            case .address(let part): 4 + UInt32(part)
            }
        }
    }

    // Ancillary data of the kernel (linux/filter.h, SKF_AD_OFF).
    static let packetKind: UInt32 = 0xFFFF_F004
    static let hasTag: UInt32 = 0xFFFF_F030
    /// PACKET_OUTGOING (linux/if_packet.h).
    static let outgoing: UInt32 = 4

    private(set) var instructions: [FilterInstruction] = []
    private var jumps: [(index: Int, mark: Mark)] = []

    private mutating func add(_ code: UInt16, _ value: UInt32, yes: UInt8 = 0, no: UInt8 = 0) {
        instructions.append(FilterInstruction(code: code, yes: yes, no: no, value: value))
    }

    mutating func load(word offset: UInt32) { add(0x20, offset) }
    mutating func load(half offset: UInt32) { add(0x28, offset) }
    mutating func load(byte offset: UInt32) { add(0x30, offset) }
    mutating func store(_ slot: Slot) { add(0x02, slot.index) }
    mutating func and(_ value: UInt32) { add(0x54, value) }
    mutating func end(with count: UInt32) { add(0x06, count) }

    mutating func endIf(equal value: UInt32, with count: UInt32) {
        add(0x15, value, no: 1)
        end(with: count)
    }

    mutating func endIf(anyOf bits: UInt32, with count: UInt32) {
        add(0x45, bits, no: 1)
        end(with: count)
    }

    mutating func skip(to mark: Mark, ifEqual value: UInt32) {
        add(0x15, value, no: 1)
        jump(to: mark)
    }

    mutating func skip(to mark: Mark, unlessEqual value: UInt32) {
        add(0x15, value, yes: 1)
        jump(to: mark)
    }

    private mutating func jump(to mark: Mark) {
        jumps.append((instructions.count, mark))
        add(0x05, 0)
    }

    /// Jumps where all slots have the values.
    mutating func compare(_ values: [(slot: Slot, value: UInt32)], then mark: Mark) {
        for (index, one) in values.enumerated() {
            add(0x60, one.slot.index)
            // To the end: two instructions for each comparison that is left, and the jump.
            add(0x15, one.value, no: UInt8(2 * (values.count - 1 - index) + 1))
        }
        jump(to: mark)
    }

    mutating func place(_ mark: Mark) {
        for jump in jumps where jump.mark == mark {
            instructions[jump.index].value = UInt32(instructions.count - jump.index - 1)
        }
        jumps.removeAll { $0.mark == mark }
    }
}

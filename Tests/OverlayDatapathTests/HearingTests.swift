import OverlayModel
import Testing

@testable import OverlayDatapath

/// Frames of containers, and the filter of the kernel that chooses among them.
@Suite struct HearingTests {
    private static let own = MACAddress("02:42:0a:00:00:05")!
    private static let virtual = MACAddress("00:00:5e:00:01:33")!
    private static let stranger = MACAddress("02:99:00:00:00:01")!
    private static let leased = IPAddress("10.0.0.5")!
    private static let vip = IPAddress("10.0.0.200")!
    private static let leased6 = IPAddress("fd00::5")!
    private static let vip6 = IPAddress("fd00::200")!

    private static let hearing = Hearing(
        macs: [own, virtual],
        known: [
            .init(leased, at: own), .init(leased6, at: own), .init(vip, at: virtual), .init(IPAddress("fd00::210")!, at: virtual),
        ], isFull: false)

    private static func arp(
        _ address: IPAddress, from source: MACAddress, at mac: MACAddress? = nil, operation: UInt8 = 1, tag: [UInt8] = []
    ) -> [UInt8] {
        [UInt8](repeating: 0xFF, count: 6) + source.bytes + tag + [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]
            + (mac ?? source).bytes + address.networkBytes + MACAddress.zero.bytes + address.networkBytes
    }

    private static func advertisement(
        _ address: IPAddress, from source: MACAddress, options: [UInt8]? = nil, next: UInt8 = 58, type: UInt8 = 136,
        hops: UInt8 = 255
    ) -> [UInt8] {
        let message = [type, 0, 0, 0, 0x20, 0, 0, 0] + address.networkBytes + (options ?? [2, 1] + source.bytes)
        return [0x33, 0x33, 0, 0, 0, 1] + source.bytes + [0x86, 0xDD, 0x60, 0, 0, 0, 0, UInt8(message.count), next, hops]
            + address.networkBytes + IPAddress("ff02::1")!.networkBytes + message
    }

    private static func plain(from source: MACAddress) -> [UInt8] {
        own.bytes + source.bytes + [0x08, 0x00, 0x45] + [UInt8](repeating: 1, count: 60)
    }

    private struct Case {
        var frame: [UInt8]
        var heard: Heard?
        /// True if the filter passes it.
        var passes: Bool
    }

    private static func claim(_ address: IPAddress, at mac: MACAddress, from source: MACAddress? = nil) -> Heard {
        Heard(source: source ?? mac, claim: .init(address, at: mac))
    }

    private static let cases: [Case] = [
        // Announcements, in both forms, and questions.
        Case(frame: arp(vip, from: own), heard: claim(vip, at: own), passes: true),
        Case(frame: arp(vip, from: own, operation: 2), heard: claim(vip, at: own), passes: true),
        Case(frame: arp(vip, from: virtual), heard: claim(vip, at: virtual), passes: false),
        Case(frame: arp(vip, from: own, at: virtual), heard: claim(vip, at: virtual, from: own), passes: false),
        Case(frame: arp(leased, from: own), heard: claim(leased, at: own), passes: false),
        Case(frame: arp(leased, from: stranger), heard: claim(leased, at: stranger), passes: true),
        // A probe claims nothing, and neither does nonsense.
        Case(frame: arp(IPAddress("0.0.0.0")!, from: own), heard: Heard(source: own), passes: false),
        Case(frame: arp(IPAddress("255.255.255.255")!, from: own), heard: Heard(source: own), passes: true),
        Case(frame: arp(vip, from: own, at: MACAddress(bits: 0x0100_0000_0000)), heard: Heard(source: own), passes: true),
        Case(frame: arp(vip, from: own, operation: 3), heard: Heard(source: own), passes: true),
        Case(frame: arp(vip, from: .zero), heard: nil, passes: true),
        Case(frame: arp(vip, from: MACAddress(bits: 0x0142_0000_0001)), heard: nil, passes: false),
        // Tagged frames tell their sender alone.
        Case(frame: arp(vip, from: own, tag: [0x81, 0, 0, 7]), heard: Heard(source: own), passes: false),
        Case(frame: arp(vip, from: stranger, tag: [0x81, 0, 0, 7]), heard: Heard(source: stranger), passes: true),
        // IPv6.
        Case(frame: advertisement(vip6, from: own), heard: claim(vip6, at: own), passes: true),
        Case(frame: advertisement(leased6, from: own), heard: claim(leased6, at: own), passes: false),
        Case(frame: advertisement(vip6, from: own, options: []), heard: claim(vip6, at: own), passes: true),
        Case(
            frame: advertisement(vip6, from: own, options: [14, 1, 0, 0, 0, 0, 0, 0, 2, 1] + virtual.bytes),
            heard: claim(vip6, at: virtual, from: own), passes: true),
        Case(frame: advertisement(vip6, from: own, options: [2, 0] + own.bytes), heard: Heard(source: own), passes: true),
        Case(frame: advertisement(vip6, from: own, hops: 64), heard: Heard(source: own), passes: true),
        Case(frame: advertisement(vip6, from: own, type: 135), heard: Heard(source: own), passes: false),
        Case(frame: advertisement(vip6, from: own, next: 0), heard: Heard(source: own), passes: false),
        Case(frame: advertisement(IPAddress("fe80::5")!, from: own), heard: claim(IPAddress("fe80::5")!, at: own), passes: false),
        Case(frame: advertisement(IPAddress("ff02::5")!, from: own), heard: Heard(source: own), passes: true),
        // Everything else.
        Case(frame: plain(from: own), heard: Heard(source: own), passes: false),
        Case(frame: plain(from: virtual), heard: Heard(source: virtual), passes: false),
        Case(frame: plain(from: stranger), heard: Heard(source: stranger), passes: true),
        Case(frame: Array(arp(vip, from: own).prefix(31)), heard: Heard(source: own), passes: false),
        Case(frame: Array(plain(from: stranger).prefix(13)), heard: nil, passes: false),
        Case(frame: [], heard: nil, passes: false),
    ]

    @Test func framesAreRead() {
        for one in Self.cases { #expect(Heard(frame: one.frame) == one.heard, "\(one.frame)") }
    }

    @Test func theFilterPassesWhatIsNews() {
        let program = Self.hearing.program
        for one in Self.cases {
            let passed = Machine(frame: one.frame).run(program)
            #expect((passed ?? 0 > 0) == one.passes, "\(one.frame): \(passed ?? 0)")
            // The bytes that pass are enough to read all that matters.
            if one.passes, let passed { #expect(Heard(frame: Array(one.frame.prefix(Int(passed)))) == one.heard) }
        }
        for frame in Self.cases.map(\.frame) { #expect(Machine(frame: frame, kind: 4).run(program) ?? 0 == 0, "outgoing") }
        // A tag that the device took out of the frame.
        #expect(Machine(frame: Self.arp(Self.vip, from: Self.own), isTagged: true).run(program) == 0)
        #expect(Machine(frame: Self.arp(Self.vip, from: Self.stranger), isTagged: true).run(program) == 14)
    }

    @Test func aFullOneHearsAddressesAlone() {
        var full = Self.hearing
        full.isFull = true
        #expect(Machine(frame: Self.plain(from: Self.stranger)).run(full.program) == 0)
        #expect(Machine(frame: Self.arp(Self.vip, from: Self.own)).run(full.program) ?? 0 > 0)
        #expect(!full.passes(Heard(source: Self.stranger)) && full.passes(Self.claim(Self.vip, at: Self.own)))
    }

    /// The rule that the simulation uses, and the program, agree.
    @Test(arguments: 1...200 as ClosedRange<UInt64>)
    func ruleAndProgramAgree(seed: UInt64) {
        var draw = Draw(seed: seed)
        let macs: [MACAddress] = (1...20).map { MACAddress(bits: 0x0242_0000_0000 + UInt64($0) << 15) }
        var addresses: [IPAddress] = (1...10).map { (number: Int) in IPAddress(v4: 10, 0, UInt8(number % 3), UInt8(number)) }
        for number in 1...10 {
            addresses.append(IPAddress(family: .v6, bits: UInt128(0xFD) << 120 | UInt128(number) << UInt128(number * 8)))
        }
        var hearing = Hearing(macs: [], known: [], isFull: seed % 5 == 0)
        for _ in 0..<draw.number(18) { hearing.macs.insert(macs[draw.number(20)]) }
        for _ in 0..<draw.number(18) { hearing.known.insert(.init(addresses[draw.number(20)], at: macs[draw.number(20)])) }
        let program = hearing.program
        #expect(program.count < 4096)
        for _ in 0..<100 {
            let source = macs[draw.number(20)]
            let address = addresses[draw.number(20)]
            let frame = address.family == .v4 ? Self.arp(address, from: source) : Self.advertisement(address, from: source)
            let heard = Self.claim(address, at: source)
            #expect((Machine(frame: frame).run(program) ?? 0 > 0) == hearing.passes(heard), "seed \(seed) \(heard)")
        }
    }

    @Test func hostileFramesAreHarmless() {
        var draw = Draw(seed: 5)
        let program = Self.hearing.program
        for round in 0..<20_000 {
            var frame = Self.cases[round % Self.cases.count].frame
            for _ in 0..<1 + draw.number(4) where !frame.isEmpty { frame[draw.number(frame.count)] = UInt8(draw.number(256)) }
            if draw.chance(30) { frame = Array(frame.prefix(draw.number(frame.count + 1))) }
            _ = Machine(frame: frame).run(program)
            guard let heard = Heard(frame: frame) else { continue }
            #expect(!heard.source.isMulticast && heard.source != .zero)
            if let claim = heard.claim { #expect(claim.address.isHost && !claim.mac.isMulticast && claim.mac != .zero) }
        }
    }
}

/// Machine for classic BPF (linux/filter.h), as far as the filter goes. A load outside of the frame ends it with 0.
private struct Machine {
    var frame: [UInt8]
    var kind: UInt32 = 0
    var isTagged = false

    private func load(_ offset: UInt32, _ size: Int) -> UInt32? {
        switch offset {
        case 0xFFFF_F004: return kind
        case 0xFFFF_F030: return isTagged ? 1 : 0
        default:
            let start = Int(offset)
            guard start + size <= frame.count else { return nil }
            return frame[start..<start + size].reduce(0) { $0 << 8 | UInt32($1) }
        }
    }

    func run(_ program: [FilterInstruction]) -> UInt32? {
        var accumulator: UInt32 = 0
        var memory = [UInt32](repeating: 0, count: 16)
        var index = 0
        while program.indices.contains(index) {
            let one = program[index]
            index += 1
            switch one.code {
            case 0x20, 0x28, 0x30:
                guard let value = load(one.value, one.code == 0x20 ? 4 : one.code == 0x28 ? 2 : 1) else { return 0 }
                accumulator = value
            case 0x60: accumulator = memory[Int(one.value)]
            case 0x02: memory[Int(one.value)] = accumulator
            case 0x54: accumulator &= one.value
            case 0x05: index += Int(one.value)
            case 0x15: index += Int(accumulator == one.value ? one.yes : one.no)
            case 0x45: index += Int(accumulator & one.value != 0 ? one.yes : one.no)
            case 0x06: return one.value
            default: return nil
            }
        }
        return nil
    }
}

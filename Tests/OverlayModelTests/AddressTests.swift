import OverlayModel
import Testing

@Suite struct AddressTests {
    @Test(
        arguments: [
            ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"), ("10.32.0.1", "10.32.0.1"),
            ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("0:0:0:0:0:0:0:0", "::"),
            // RFC 5952 §4.1–4.3: no leading zeros; the longest run is shortened, the first of equal ones, never a single group;
            // lower case.
            ("2001:0db8::0001", "2001:db8::1"), ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:DB8::ABCD", "2001:db8::abcd"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] as [(String, String)])
    func aTextHasOneCanonicalForm(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
        #expect(IPAddress(networkBytes: address.networkBytes) == address)
    }

    @Test func aMappedAddressIsIPv6() throws {
        let address = try #require(IPAddress("::ffff:1.2.3.4"))
        #expect(address.family == .v6 && address.bits == 0xFFFF_0102_0304)
        #expect(address != IPAddress(v4: 1, 2, 3, 4))
        #expect(IPAddress(address.description) == address)
    }

    @Test(
        arguments: [
            "", " ", ".", "...", "1", "1.2", "1.2.3", "1.2.3.", ".1.2.3", "1.2.3.4.", "1.2.3.4.5", "256.0.0.1", "1.2.3.999",
            "01.2.3.4", "1.2.3.00", "1.2.3.0004", "+1.2.3.4", "-1.2.3.4", "1.2.3.-4", "0x1.2.3.4", " 1.2.3.4", "1.2.3.4 ", "1..2.3",
            "1.2.3.4\n", "1.2.3.4\0", "1.2.3.4/32", "a.b.c.d", "１.2.3.4", "1,2,3,4",
            ":", ":::", "::::", "1::2::3", ":1", "1:", ":1::", "1::2:", "12345::", "g::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "::+1", "::-1", "::-0", "+1::", "-0::", "::0x1",
            "fe80::1%eth0",
            "[::1]", "::1 ", "::1.2.3", "::1.2.3.4.5", "::256.1.1.1", "::01.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4:5",
            // RFC 4291 §2.2 (3): the dotted form stands for the last four bytes only.
            "1.2.3.4::", "1.2.3.4::1", "1:1.2.3.4::", "1.2.3.4:1:2:3:4:5:6",
        ])
    func junkIsNoAddress(text: String) { #expect(IPAddress(text) == nil) }

    @Test(
        arguments: [
            "", "/", "10.0.0.0", "10.0.0.0/", "/24", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/ 8", "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0", "10.0.0/8", "::/129", "::/999", "::/1000", "10.0.0.0/2️⃣", "10.0.0.0/٨",
        ])
    func junkIsNoPrefix(text: String) { #expect(IPPrefix(text) == nil) }

    @Test func hugeTextsAreRefusedQuickly() {
        let megabyte = 1 << 20
        for unit in ["1", ":", ".", "::", "1.", "f:", "/", "0"] {
            let text = String(repeating: unit, count: megabyte / unit.utf8.count)
            #expect(IPAddress(text) == nil)
            #expect(IPPrefix(text) == nil && IPPrefix("10.0.0.0/" + text) == nil && IPPrefix(text + "/8") == nil)
            #expect(MACAddress(text) == nil)
            #expect(NodeID(text) == nil && SubnetID(text) == nil && EndpointID(text) == nil && EngineNetworkID(text) == nil)
        }
    }

    @Test func randomTextsNeverTrap() {
        var generator = SeededGenerator(seed: 7)
        let alphabet = Array("0123456789abcfF.:/+-x% ")
        for _ in 0..<20_000 {
            let text = String(
                (0..<Int.random(in: 0...24, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! })
            if let address = IPAddress(text) { #expect(IPAddress(address.description) == address, "\(text)") }
            if let prefix = IPPrefix(text) { #expect(IPPrefix(prefix.description) == prefix, "\(text)") }
            if let mac = MACAddress(text) { #expect(MACAddress(mac.description) == mac, "\(text)") }
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func everyAddressSurvivesItsText(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            // Groups of few values, so that runs of zeros of all lengths occur.
            var bits: UInt128 = 0
            for _ in 0..<8 { bits = bits << 16 | UInt128([0, 0, 1, 0xABCD, 0xFFFF].randomElement(using: &generator)!) }
            let address = IPAddress(family: .v6, bits: bits)
            #expect(IPAddress(address.description) == address)
            let v4 = IPAddress(family: .v4, bits: UInt128(generator.next()))
            #expect(IPAddress(v4.description) == v4)
        }
    }

    @Test func addressesEndWhereTheirFamilyEnds() {
        #expect(IPAddress("255.255.255.255")!.advanced(by: 1) == nil)
        #expect(IPAddress("0.0.0.0")!.advanced(by: 0xFFFF_FFFF) == IPAddress("255.255.255.255"))
        #expect(IPAddress("0.0.0.0")!.advanced(by: .max) == nil)
        #expect(IPAddress("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")!.advanced(by: 1) == nil)
        #expect(IPAddress("::1")!.advanced(by: .max) == nil)
        #expect(IPAddress("::")!.advanced(by: .max) == IPAddress("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
        #expect(IPAddress(networkBytes: [UInt8](repeating: 0, count: 5)) == nil)
        #expect(IPAddress("255.255.255.255")! < IPAddress("::")!)
    }

    @Test(
        arguments: [
            ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"), ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"),
            // RFC 3021, and /32 as a single host.
            ("10.0.0.0/31", "10.0.0.0", "10.0.0.1"), ("10.0.0.7/32", "10.0.0.7", "10.0.0.7"),
            ("0.0.0.0/0", "0.0.0.1", "255.255.255.254"), ("255.255.255.0/24", "255.255.255.1", "255.255.255.254"),
            ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"), ("fd00::/126", "fd00::1", "fd00::3"),
            ("fd00::/127", "fd00::", "fd00::1"), ("fd00::/128", "fd00::", "fd00::"),
            ("::/0", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] as [(String, String, String)])
    func usableAddresses(prefix: String, first: String, last: String) throws {
        let usable = try #require(IPPrefix(prefix)).usable
        #expect(usable == AddressRange(first: IPAddress(first)!, last: IPAddress(last)!))
    }

    @Test(
        arguments: [
            ("10.0.0.0/8", "10.1.0.0/16", true, true), ("10.1.0.0/16", "10.0.0.0/8", false, true),
            ("10.0.0.0/9", "10.128.0.0/9", false, false), ("0.0.0.0/0", "255.255.255.255/32", true, true),
            ("0.0.0.0/0", "::/0", false, false), ("::/0", "10.0.0.0/8", false, false), ("::/0", "fd00::/8", true, true),
            // Host bits do not matter for overlaps.
            ("10.0.0.5/24", "10.0.0.9/25", true, true), ("10.0.0.200/25", "10.0.0.5/25", false, false),
        ] as [(String, String, Bool, Bool)])
    func prefixesContainAndOverlap(one: String, other: String, contains: Bool, overlaps: Bool) throws {
        let one = try #require(IPPrefix(one))
        let other = try #require(IPPrefix(other))
        #expect(one.contains(other) == contains)
        #expect(one.overlaps(other) == overlaps && other.overlaps(one) == overlaps)
    }

    @Test func networksHaveNoHostBits() throws {
        let prefix = try #require(IPPrefix("10.1.2.3/20"))
        #expect(!prefix.isNetwork && prefix.network == IPPrefix("10.1.0.0/20") && prefix.network.isNetwork)
        #expect(prefix.first == IPAddress("10.1.0.0") && prefix.last == IPAddress("10.1.15.255"))
        #expect(IPPrefix("::1/0")!.network == IPPrefix("::/0"))
        #expect(IPPrefix(IPAddress("10.0.0.0")!, length: 33) == nil && IPPrefix(IPAddress("10.0.0.0")!, length: -1) == nil)
    }

    @Test func rangesCount() throws {
        #expect(AddressRange(try #require(IPPrefix("10.0.0.0/24"))).count == 256)
        #expect(AddressRange(IPAddress(v4: 1, 2, 3, 4)).count == 1)
        #expect(AddressRange(try #require(IPPrefix("::/0"))).count == .max)
        let v4 = AddressRange(try #require(IPPrefix("0.0.0.0/0")))
        #expect(v4.count == 1 << 32 && !v4.contains(IPAddress("::1")!))
        #expect(!v4.overlaps(AddressRange(IPPrefix("::/0")!)))
    }
}

import OverlayModel
import Testing

@Suite struct IdentifierTests {
    @Test(
        arguments: [
            ("02:42:0a:00:00:01", 0x0242_0A00_0001), ("02-42-0A-00-00-01", 0x0242_0A00_0001), ("00:00:00:00:00:00", 0),
            ("ff:ff:ff:ff:ff:ff", 0xFFFF_FFFF_FFFF),
        ] as [(String, UInt64)])
    func aMACHasSixPairs(text: String, bits: UInt64) throws {
        let mac = try #require(MACAddress(text))
        #expect(mac.bits == bits && MACAddress(bytes: mac.bytes) == mac && MACAddress(mac.description) == mac)
    }

    @Test(
        arguments: [
            "", "02:42:0a:00:00", "02:42:0a:00:00:01:02", "2:42:a:0:0:1", "02420a000001", "0242.0a00.0001", "02:42:0a:00:00:0g",
            "02:42:0a:00:00:+1", "02:42:0a:00:00:-1", ":02:42:0a:00:00", "02:42:0a:00:00:01 ", "02:42:0a::00:01",
            "０２:42:0a:00:00:01",
        ])
    func junkIsNoMAC(text: String) { #expect(MACAddress(text) == nil) }

    @Test func drawnMACsAreUnicastAndLocal() {
        var generator = SeededGenerator(seed: 3)
        var seen: Set<MACAddress> = []
        for _ in 0..<10_000 {
            let mac = MACAddress.random(using: &generator)
            #expect(!mac.isMulticast && mac.bytes[0] & 2 != 0 && mac != .zero)
            seen.insert(mac)
        }
        #expect(seen.count == 10_000)
        #expect(MACAddress("01:00:5e:00:00:01")!.isMulticast && MACAddress("ff:ff:ff:ff:ff:ff")!.isMulticast)
        #expect(MACAddress(bits: .max).bits == 0xFFFF_FFFF_FFFF && MACAddress(bytes: [1, 2, 3, 4, 5]) == nil)
    }

    @Test(arguments: [0, 1, 0xA, 0xABCDEF, .max] as [UInt64])
    func aSubnetIsItsCanonicalText(value: UInt64) {
        let id = SubnetID(value)
        #expect(id.description.utf8.count == 21 && SubnetID(id.description) == id)
    }

    /// Engines keep the text as a PoolID. Two texts for one pool would be two pools to them.
    @Test(
        arguments: [
            "", "pool-", "pool-1", "pool-000000000000000A", "pool-+00000000000000a", "pool--00000000000000a",
            "pool--000000000000000",
            "Pool-000000000000000a", "pool-0000000000000000a", "pool-000000000000000g", " pool-00000000000000a",
            "pool_000000000000000a",
            "pool-000000000000000 ",
        ])
    func otherTextsAreNoSubnet(text: String) { #expect(SubnetID(text) == nil) }

    @Test func idsAreHexadecimal() throws {
        let id = try #require(NodeID("00112233445566778899aabbccddeeff"))
        #expect(id.description == "00112233445566778899aabbccddeeff" && id.short == "001122334455")
        #expect(NodeID(bytes: id.bytes) == id && NodeID(bytes: [1]) == nil)
        for text in ["", "0011", id.description + "0", "+0112233445566778899aabbccddeeff", "0011223344556677 899aabbccddeeff"] {
            #expect(NodeID(text) == nil, "\(text)")
        }
    }

    @Test(arguments: ["0123456789ab", "nawsadqpnx0p8z7rxgwq6o7nw", String(repeating: "F", count: 64)])
    func enginesNameThings(text: String) { #expect(EndpointID(text)?.text == text && EngineNetworkID(text)?.text == text) }

    @Test(
        arguments: [
            "", "0123456789a", String(repeating: "a", count: 65), "0123456789a/", "../../../etc/x", "0123456789 b", "0123456789é",
            "0123456789a\0", "0123456789a-",
        ])
    func otherTextsAreNoEngineID(text: String) { #expect(EndpointID(text) == nil && EngineNetworkID(text) == nil) }

    @Test func vnisHave24Bits() {
        #expect(
            VNI(1_048_575) == nil && VNI(1_048_576) != nil && VNI(0xFF_FFFF) != nil && VNI(0x100_0000) == nil && VNI(.max) == nil)
    }

    @Test func hexadecimalIsTheInverseOfItself() {
        let all = Array(UInt8.min...UInt8.max)
        #expect(bytes(hexadecimal: hexadecimal(all)) == all && bytes(hexadecimal: hexadecimal(all).uppercased()) == all)
        for text in ["0", "0g", "-1", "+1", "é"] { #expect(bytes(hexadecimal: text) == nil) }
        #expect(bytes(hexadecimal: "") == [])
    }
}

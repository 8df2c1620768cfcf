import OverlayModel
import OverlayTestSupport
import Testing

@Suite struct WireTests {
    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) {
        let v4 = IPAddress(v4: 10, 0, 0, 1)
        let v6 = IPAddress(family: .v6, bits: UInt128(0xFD00) << 112 | 5)
        expectHostileBytesAreHarmless([v4, v6], seed: seed)
        expectHostileBytesAreHarmless(
            [v4.hostPrefix, v6.hostPrefix, IPPrefix(v4, length: 0)!, IPPrefix(v6, length: 0)!], seed: seed)
        expectHostileBytesAreHarmless(
            [
                AddressRange(v4), AddressRange(first: v4, last: IPAddress(v4: 255, 255, 255, 255)),
                AddressRange(IPPrefix(v6, length: 0)!),
            ], seed: seed)
        expectHostileBytesAreHarmless([MACAddress(bits: 0x0242_0A00_0001), .zero], seed: seed)
        expectHostileBytesAreHarmless([VNI(1_048_576)!, VNI(0xFF_FFFF)!], seed: seed)
        expectHostileBytesAreHarmless([NodeID(bits: 0), NodeID(bits: .max)], seed: seed)
        expectHostileBytesAreHarmless([NetworkID(bits: 1)], seed: seed)
        expectHostileBytesAreHarmless([ClusterID(bits: 1)], seed: seed)
        expectHostileBytesAreHarmless([SubnetID(0), SubnetID(.max)], seed: seed)
        expectHostileBytesAreHarmless([EndpointID("0123456789ab")!, EndpointID(String(repeating: "f", count: 64))!], seed: seed)
        expectHostileBytesAreHarmless([EngineNetworkID("nawsadqpnx0p8z7rxgwq6o7nw")!], seed: seed)
        expectHostileBytesAreHarmless(["", "a", "Zürich ❤️", String(repeating: "x", count: 1024)], seed: seed, mutations: 5000)
    }

    @Test func integersAreBigEndian() throws {
        #expect(UInt32(0x0102_0304).wireBytes == [1, 2, 3, 4])
        #expect(UInt64.max.wireBytes == [UInt8](repeating: 255, count: 8))
        var reader = ByteReader([1, 2, 3, 4, 5, 6, 7])
        #expect(try reader.integer(UInt8.self) == 1)
        #expect(try reader.integer(UInt16.self) == 0x0203)
        #expect(try reader.integer(UInt32.self) == 0x0405_0607)
        try reader.finish()
    }

    @Test func aReaderStandsStillWhereItFails() {
        var reader = ByteReader([1, 2, 3])
        #expect(throws: DecodeError.truncated) { try reader.integer(UInt32.self) }
        #expect(reader.remaining == 3)
        #expect(throws: DecodeError.truncated) { try reader.take(-1) }
        #expect(throws: DecodeError.truncated) { try reader.take(.max) }
        #expect(throws: DecodeError.trailingBytes) { try reader.finish() }
        #expect(reader.rest() == [1, 2, 3])
        #expect(reader.rest() == [])
        #expect(throws: DecodeError.truncated) { try reader.byte() }
    }

    /// If memory were allocated first, 2³² − 1 elements of 32 bytes would end the process.
    @Test func declaredSizesAreCheckedBeforeMemoryIsTaken() {
        let huge: [UInt8] = [255, 255, 255, 255, 0]
        func refusal(_ read: (inout ByteReader) throws(DecodeError) -> Void) -> DecodeError? {
            var reader = ByteReader(huge)
            do throws(DecodeError) {
                try read(&reader)
                return nil
            } catch {
                return error
            }
        }
        #expect(refusal { reader throws(DecodeError) in _ = try reader.list(IPAddress.self) } == .tooLong(limit: Limits.listCount))
        #expect(refusal { reader throws(DecodeError) in _ = try reader.list(IPAddress.self, limit: .max) } == .truncated)
        #expect(refusal { reader throws(DecodeError) in _ = try reader.sized(limit: 32) } == .tooLong(limit: 32))
        #expect(refusal { reader throws(DecodeError) in _ = try reader.sized(limit: .max) } == .truncated)
        #expect(refusal { reader throws(DecodeError) in _ = try reader.string() } == .tooLong(limit: Limits.stringBytes))
    }

    @Test func onlyValidUTF8IsAString() {
        for raw in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]] as [[UInt8]] {
            var writer = ByteWriter()
            writer.sized(raw)
            #expect(decode(String.self, writer.bytes) == .refused(.invalid("UTF-8")))
        }
    }

    @Test func aBooleanIsZeroOrOne() {
        for byte in UInt8.min...UInt8.max {
            var reader = ByteReader([byte])
            #expect((try? reader.bool()) == (byte == 0 ? false : byte == 1 ? true : nil))
        }
    }

    @Test func prefixesLongerThanTheirAddressAreRefused() {
        for (address, bits) in [(IPAddress(v4: 10, 0, 0, 0), 32), (IPAddress(family: .v6, bits: 0), 128)] {
            for length in UInt8.min...UInt8.max {
                let prefix = try? IPPrefix(wire: address.wireBytes + [length])
                #expect(prefix == IPPrefix(address, length: Int(length)))
                #expect((prefix != nil) == (Int(length) <= bits))
            }
        }
    }

    @Test func storedRowsFollowTheirWrites() {
        var rows: StoredRows = [:]
        rows.apply([.put(.lease, key: [1], value: [9]), .put(.lease, key: [1, 0], value: [8]), .put(.node, key: [2], value: [7])])
        rows.apply([.put(.lease, key: [2], value: [6]), .put(.lease, key: [1], value: [5])])
        #expect(rows[.lease] == [[1]: [5], [1, 0]: [8], [2]: [6]])
        rows.apply([.deleteThrough(.lease, key: [1, 0])])
        #expect(rows[.lease] == [[2]: [6]])
        rows.apply([.delete(.lease, key: [3]), .delete(.lease, key: [2]), .clear(.closing)])
        #expect(rows[.lease, default: [:]].isEmpty && rows[.node] == [[2]: [7]])
        rows.apply([.clear(.node), .put(.node, key: [], value: [])])
        #expect(rows[.node] == [[]: []])
    }

    @Test func aSeedGivesOneSequence() {
        // SplitMix64 of seed 0, as published with the algorithm.
        var generator = SeededGenerator(seed: 0)
        #expect(generator.next() == 0xE220_A839_7B1D_CDAF)
        #expect(generator.next() == 0x6E78_9E6A_A1B9_65F4)
    }

    @Test func timesAreAddedAndCompared() {
        let start = Instant(nanoseconds: 5)
        #expect(start + .seconds(2) - start == .milliseconds(2000))
        #expect(Interval.microseconds(1500) < .milliseconds(2))
        #expect(Interval.milliseconds(2999).wholeSeconds == 2)
        #expect(Interval.milliseconds(10) * 3 == .milliseconds(30))
        // A clock at its end wraps, and the daemon goes on.
        #expect(Instant(nanoseconds: .max) + .seconds(1) < start)
    }
}

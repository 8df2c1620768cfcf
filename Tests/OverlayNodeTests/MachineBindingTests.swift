import OverlayModel
import OverlayNode
import Testing

/// A state directory that was copied to another host is noticed (rule R6).
@Suite struct MachineBindingTests {
    private static let one = "0123456789abcdef0123456789ABCDEF\n"
    private static let other = "ffffffffffffffffffffffffffffffff\n"

    private static func bound(to machine: String) throws -> StoredRows {
        guard case .new(let write) = MachineBinding(machine: machine, rows: [:], isAccepted: false) else {
            throw CancellationError()
        }
        var rows: StoredRows = [:]
        rows.apply([write])
        return rows
    }

    @Test func anotherHostIsRefusedUntilItIsAccepted() throws {
        let rows = try Self.bound(to: Self.one)
        #expect(MachineBinding(machine: Self.one, rows: rows, isAccepted: false) == .same)
        #expect(MachineBinding(machine: Self.one.lowercased() + " ", rows: rows, isAccepted: false) == .same)
        #expect(MachineBinding(machine: Self.other, rows: rows, isAccepted: false) == .copied)
        guard case .new(let write) = MachineBinding(machine: Self.other, rows: rows, isAccepted: true) else {
            Issue.record("not accepted")
            return
        }
        var moved = rows
        moved.apply([write])
        #expect(MachineBinding(machine: Self.other, rows: moved, isAccepted: false) == .same)
        #expect(MachineBinding(machine: Self.one, rows: moved, isAccepted: false) == .copied)
    }

    @Test(arguments: [
        nil, "", "\n", "uninitialized\n", "0123", String(repeating: "0", count: 32), String(repeating: "g", count: 32),
        String(repeating: "a", count: 33), "\u{0}", String(repeating: "é", count: 16),
    ])
    func aHostWithoutAnIdIsNotChecked(machine: String?) throws {
        #expect(MachineBinding(machine: machine, rows: [:], isAccepted: false) == .unknown)
        #expect(MachineBinding(machine: machine, rows: try Self.bound(to: Self.one), isAccepted: false) == .unknown)
    }
}

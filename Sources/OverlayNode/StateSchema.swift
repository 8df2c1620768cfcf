public import OverlayModel

/// Versions of the rows that a node keeps on its disk. A changed form of any row takes a new number, a step from the one before, and
/// golden bytes in the tests; a row of a kind that was not there before takes none.
///
/// | Number | Came with |
/// |---|---|
/// | 1 | 0.1 and the builds after it. Rows of networks may end before the admission, or before what comes after it. |
/// | 2 | Rows of networks are whole. |
public enum StateSchema {
    /// Schema of this build.
    public static let present = StoreSchema(version: 2) { rows, version throws(DecodeError) in try migrate(rows, from: version) }

    /// Steps by the number that they lead from. They decode by themselves what they change: what the program decodes is the present form.
    private static let steps: [(from: Int, step: @Sendable (StoredRows) throws(DecodeError) -> [StoreWrite])] = [
        (1, completeNetworks)
    ]

    private static func migrate(_ rows: StoredRows, from version: Int) throws(DecodeError) -> [StoreWrite] {
        var rows = rows
        var writes: [StoreWrite] = []
        for (from, step) in steps where from >= version {
            let new = try step(rows)
            rows.apply(new)
            writes += new
        }
        return writes
    }

    @Sendable private static func completeNetworks(_ rows: StoredRows) throws(DecodeError) -> [StoreWrite] {
        var writes: [StoreWrite] = []
        for (key, value) in rows[.network] ?? [:] {
            var reader = ByteReader(value)
            // Id of the engine, network of the cluster, subnets of eight bytes, name.
            _ = try reader.sized(limit: 64)
            _ = try reader.take(16)
            let subnets = Int(try reader.integer(UInt32.self))
            guard subnets <= 32 else { throw .tooLong(limit: 32) }
            _ = try reader.take(8 * subnets)
            if try reader.bool() { _ = try reader.sized(limit: 1024) }
            // Admission: endpoints are let on. Then: its subnets were given or are decided, and it has no aliases.
            let tail: [UInt8] = [0, 0, 0, 0, 0, 0]
            guard reader.remaining < 2 else { continue }
            writes.append(.put(.network, key: key, value: value + tail.dropFirst(reader.remaining)))
        }
        return writes
    }
}

import Testing

@testable import OverlayPluginServer

@Suite struct ConnectionTableTests {
    /// Table behind a reference, as expectations copy values.
    private final class Fixture {
        typealias Table = ConnectionTable<Int>

        private var table: Table

        init(_ limits: Table.Limits) { table = Table(limits: limits) }

        var count: Int { table.count }
        var isWaiting: Bool { table.isWaiting }

        func hasRoom(at now: UInt64 = 0) -> Bool { table.hasRoom(at: now) }
        func open(_ id: Int, at now: UInt64 = 0) -> Int? { table.open(id, at: now) }
        func close(_ id: Int) { table.close(id) }
        func received(_ id: Int, at now: UInt64) { table.received(id, at: now) }
        func began(_ id: Int, at now: UInt64) { table.began(id, at: now) }
        func holds(_ bytes: Int, _ id: Int) -> [Int] { table.holds(bytes, id) }
        func complete(_ id: Int) { table.complete(id) }
        /// Number of the last answer.
        private(set) var answer: UInt64 = 0
        func answering(_ id: Int, at now: UInt64) { answer = table.answering(id, at: now) }
        func answered(_ id: Int, _ number: UInt64? = nil, at now: UInt64) -> Bool { table.answered(id, number ?? answer, at: now) }
        func expired(at now: UInt64, arrival: UInt64? = nil) -> [Int] { table.expired(at: now, arrival: arrival) }

        /// Opens a connection and lets a request be answered on it.
        func use(_ id: Int) {
            _ = open(id)
            received(id, at: 0)
            began(id, at: 0)
            complete(id)
            answering(id, at: 0)
            _ = answered(id, at: 0)
        }
    }

    private func table(connections: Int = 3, keptBytes: Int = 100, arrival: UInt64 = 30) -> Fixture {
        Fixture(Fixture.Table.Limits(connections: connections, keptBytes: keptBytes, arrival: arrival, reading: 10))
    }

    @Test func `While there is room nobody gives way`() {
        let table = table()
        #expect([1, 2, 3].allSatisfy { table.hasRoom() && table.open($0) == nil })
        #expect(table.count == 3 && !table.isWaiting)
    }

    @Test func `Half a request gives way first, that which has not moved for longest`() {
        let table = table()
        table.use(1)
        for id in [2, 3] {
            _ = table.open(id)
            table.received(id, at: 0)
        }
        // The second goes on, so the third is the one that rests.
        table.received(2, at: 1)
        #expect(table.hasRoom() && table.open(4) == 3)
        table.close(3)
        #expect(table.open(5) == 2)
    }

    @Test func `Then a connection that was never used, then the one that is idle for longest`() {
        let table = table()
        for id in [1, 2] { table.use(id) }
        _ = table.open(3)
        #expect(table.open(4) == 3)
        table.close(3)
        #expect(table.open(5) == 4)
        table.close(4)
        table.close(5)
        table.use(6)
        // The first is used again.
        table.received(1, at: 1)
        table.complete(1)
        table.answering(1, at: 1)
        _ = table.answered(1, at: 1)
        #expect(table.open(7) == 2)
    }

    @Test func `A request that is worked on never gives way; who waits gets the first that is answered`() {
        let table = table(connections: 2)
        for id in [1, 2] {
            _ = table.open(id)
            table.received(id, at: 0)
            table.complete(id)
        }
        #expect(!table.hasRoom())
        #expect(table.open(3) == nil)
        table.close(3)
        #expect(!table.hasRoom())
        table.answering(1, at: 0)
        #expect(table.answered(1, at: 0))
        table.close(1)
        #expect(table.hasRoom())
        table.answering(2, at: 0)
        #expect(!table.answered(2, at: 0))
    }

    @Test func `An answer that nobody reads gives way, one that is just written does not`() {
        let table = table(connections: 1)
        _ = table.open(1)
        table.received(1, at: 0)
        table.complete(1)
        table.answering(1, at: 0)
        #expect(table.expired(at: 10).isEmpty)
        #expect(!table.hasRoom(at: 9) && table.open(2, at: 9) == nil)
        table.close(2)
        #expect(table.hasRoom(at: 10) && table.open(2, at: 10) == 1)
        #expect(table.expired(at: 29).isEmpty)
        #expect(table.expired(at: 30) == [1])
    }

    @Test func `Who waits gets the room of an answer that nobody reads`() {
        let table = table(connections: 1)
        _ = table.open(1)
        table.received(1, at: 0)
        table.complete(1)
        table.answering(1, at: 0)
        #expect(!table.hasRoom(at: 0))
        #expect(table.expired(at: 9).isEmpty)
        #expect(table.expired(at: 10) == [1])
    }

    @Test func `A request that does not arrive in time expires, also if it moves`() {
        let table = table()
        table.use(1)
        _ = table.open(2)
        #expect(table.expired(at: 1000).isEmpty)
        table.received(2, at: 100)
        #expect(table.isWaiting)
        table.received(2, at: 120)
        table.began(2, at: 125)
        #expect(table.expired(at: 129).isEmpty)
        #expect(table.expired(at: 130) == [2])
        #expect(table.expired(at: 101, arrival: 1) == [2])
        table.complete(2)
        #expect(table.expired(at: 1000).isEmpty && !table.isWaiting)
    }

    @Test func `Bytes that come before the answer begin the next request`() {
        let table = table()
        _ = table.open(1)
        table.received(1, at: 0)
        table.complete(1)
        table.received(1, at: 5)
        table.answering(1, at: 6)
        _ = table.answered(1, at: 7)
        #expect(table.expired(at: 37) == [1])
    }

    @Test func `An answer that is written late does not end the next request`() {
        let table = table(connections: 1)
        _ = table.open(1)
        table.received(1, at: 0)
        table.complete(1)
        table.answering(1, at: 1)
        table.began(1, at: 1)
        table.complete(1)
        #expect(!table.hasRoom(at: 50))
        #expect(!table.answered(1, at: 2))
        #expect(!table.hasRoom(at: 50) && table.expired(at: 1000).isEmpty, "it is worked on")
        let first = table.answer
        table.answering(1, at: 1000)
        #expect(!table.answered(1, first, at: 1001))
        #expect(!table.hasRoom(at: 1009) && table.hasRoom(at: 1010), "it is not read")
    }

    @Test func `What unfinished requests hold together is bounded, the oldest go`() {
        let table = table(connections: 10)
        for id in 1...4 {
            _ = table.open(id)
            table.received(id, at: 0)
            #expect(table.holds(id == 4 ? 10 : 30, id).isEmpty)
        }
        table.received(1, at: 1)
        #expect(table.holds(31, 1) == [2])
        table.close(2)
        #expect(table.holds(70, 1) == [3])
        table.close(3)
        // A call that is worked on holds its bytes until it is answered.
        table.complete(1)
        #expect(table.holds(31, 4) == [4])
        table.close(4)
        table.answering(1, at: 2)
        _ = table.open(5)
        table.received(5, at: 2)
        #expect(table.holds(100, 5).isEmpty)
    }

    @Test func `Unknown connections change nothing`() {
        let table = table()
        table.received(9, at: 0)
        table.began(9, at: 0)
        table.complete(9)
        table.answering(9, at: 0)
        table.close(9)
        #expect(!table.answered(9, at: 0) && table.holds(1000, 9).isEmpty && table.count == 0)
    }
}

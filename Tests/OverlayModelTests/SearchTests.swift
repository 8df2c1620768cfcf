import OverlayModel
import Testing

@Suite struct SearchTests {
    @Test(arguments: 0...40)
    func theBorderIsThatOfALinearSearch(count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let sorted = (0..<count).map { _ in Int.random(in: 0..<20, using: &generator) }.sorted()
        for value in -1...21 {
            let index = sorted.partitioningIndex { $0 >= value }
            #expect(index == sorted.firstIndex { $0 >= value } ?? sorted.endIndex)
            #expect(sorted.lastElement(before: { $0 > value }) == sorted.last { $0 <= value })
        }
    }

    @Test func aSliceKeepsItsIndices() {
        let slice = [9, 9, 1, 3, 5, 7][2...]
        #expect(slice.partitioningIndex { $0 >= 5 } == 4)
        #expect(slice.partitioningIndex { $0 >= 8 } == 6)
        #expect(slice.lastElement(before: { $0 >= 1 }) == nil)
    }
}
